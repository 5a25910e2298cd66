package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// A text that is too long for the key that it becomes is refused with its attribute named.
func TestLongKeysAreRefused(t *testing.T) {
	s := event.NewBatch(&event.Schema{Name: "S", Attrs: []event.Attr{{Name: "a", Type: event.String}, {Name: "b", Type: event.String}}})
	r := &reader{keys: letters([]int{1}), keyMax: 10}
	for _, c := range []struct {
		a, b    int
		refused bool
	}{{100, 10, false}, {1, 11, true}} {
		s.Reset()
		s.Cols[0].AppendText(strings.Repeat("x", c.a))
		s.Cols[1].AppendText(strings.Repeat("y", c.b))
		s.TS = append(s.TS, 1)
		err := r.keysFit(s)
		if (err != nil) != c.refused {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil && fmt.Sprint(err) != "b: expected at most 10 bytes, because it is a key (limits.key_bytes_max), found 11 bytes" {
			t.Errorf("%v", err)
		}
	}
}
