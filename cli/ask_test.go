package cli

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
)

// A request that would start over if repeated is sent once, and may use the command's whole
// timeout.
func TestAskedOnce(t *testing.T) {
	for _, c := range []struct {
		service string
		once    bool
		want    time.Duration
	}{
		{control.Service, false, 0}, // repeated by the client
		{control.Service, true, time.Hour},
		{recovery.ServiceName, false, time.Hour},
	} {
		a := asking{timeout: time.Hour, once: c.once}
		if got := a.client(nil, c.service).Attempt; got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
