package replay

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const fuzzApp = `define stream S (v int, name string, o object);
from S#window.length(2) select v, name, o insert all events into Out;`

// Any lines are either applied or refused with their position, and the same lines give the same
// output.
func FuzzRun(f *testing.F) {
	script, err := os.ReadFile("../testdata/badlines.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(script)) {
		if strings.HasPrefix(line, "{") {
			f.Add([]byte(line))
		}
	}
	f.Add([]byte("{\"stream\":\"S\",\"ts\":1,\"rows\":[[1,\"a\",{}],[2,null,[1]]],\"event_ts\":[1,2]}\n{\"ts\":5}\n"))
	plan, err := siddhiql.Compile(fuzzApp)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		once, err := runFuzz(plan, lines)
		var bad *LineError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("%v names no line", err)
		}
		if again, _ := runFuzz(plan, lines); again != once {
			t.Fatalf("first %q, then %q", once, again)
		}
	})
}

func runFuzz(plan *siddhiql.Plan, lines []byte) (string, error) {
	var out strings.Builder
	err := Run([]*siddhiql.Plan{plan}, "lines", bytes.NewReader(lines), &out, Options{})
	return out.String(), err
}
