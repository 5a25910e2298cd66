package measured_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/measured"
	"github.com/eventflux/eventflux/shared/state/store/memory"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) func() store.Store {
		s := memory.New()
		return func() store.Store { return measured.Wrap(s) }
	})
}

// That something is not there, or there already, is an answer and no failure.
func TestOutcomes(t *testing.T) {
	s := measured.Wrap(memory.New())
	if err := s.Put(t.Context(), "runs/a", []byte("123")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "runs/a", []byte("123")); !errors.Is(err, store.ErrExists) {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "runs/b"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "..", nil); !errors.Is(err, store.ErrInvalid) {
		t.Fatal(err)
	}
	want := `
# HELP eventflux_store_bytes_total Bytes of objects given to the store of checkpoints, and taken from it.
# TYPE eventflux_store_bytes_total counter
eventflux_store_bytes_total{operation="commit"} 0
eventflux_store_bytes_total{operation="get"} 0
eventflux_store_bytes_total{operation="put"} 3
`
	if err := testutil.CollectAndCompare(s, strings.NewReader(want), "eventflux_store_bytes_total"); err != nil {
		t.Error(err)
	}
	for outcome, n := range map[string]uint64{`operation="put",outcome="ok"`: 2, `operation="put",outcome="error"`: 1, `operation="get",outcome="ok"`: 1} {
		text, err := testutil.CollectAndFormat(s, expfmt.TypeTextPlain, "eventflux_store_operation_seconds")
		if err != nil {
			t.Fatal(err)
		}
		if line := "eventflux_store_operation_seconds_count{" + outcome + "} "; !strings.Contains(string(text), line+string('0'+rune(n))) {
			t.Errorf("not %s%d", line, n)
		}
	}
}
