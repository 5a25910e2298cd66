package main

import (
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/eventfluxtest"
)

// TestTheProgram runs it twice on one folder: the second time the averages continue.
func TestTheProgram(t *testing.T) {
	data := t.TempDir()
	for _, want := range []string{"press is too hot: 80 degrees on average\n", "press is too hot: 77 degrees on average\n"} {
		var out strings.Builder
		if err := run(t.Context(), data, &out); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != want {
			t.Errorf("it writes %q, want %q", got, want)
		}
	}
}

// TestTheApp needs no server.
func TestTheApp(t *testing.T) {
	heat := eventfluxtest.Start(t, app, eventfluxtest.RestartEvery(1))
	heat.Send("Readings", Reading{"press", 70})
	heat.Advance(time.Hour)
	heat.Send("Readings", Reading{"press", 90})
	heat.Expect("Alerts", Alert{"press", 80})
}
