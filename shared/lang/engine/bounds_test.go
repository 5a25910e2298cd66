package engine_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
)

// An upgrade cannot change the span of a batch whose times are selected, since the batch that
// waits has the old one.
func TestSpanOfABatchWithTimesStays(t *testing.T) {
	const head = "@app:name('A') define stream S (v int); @info(name='q') from S#window."
	for _, c := range []struct{ before, after, want string }{
		{"timeBatch(1 min) select v, 1L as s", "timeBatch(1 min) select v, windowStart() as s", "kept"},
		{"timeBatch(1 min) select v, windowStart() as s", "timeBatch(1 min) select v, windowEnd() as s", "kept"},
		{"timeBatch(1 min) select v, 1L as s", "timeBatch(2 min) select v, 2L as s", "adapted"},
		{"timeBatch(1 min) select v, windowStart() as s", "timeBatch(2 min) select v, windowStart() as s", "refused"},
	} {
		m, err := engine.Migrate(compileText(t, head+c.before+" insert into O;"), compileText(t, head+c.after+" insert into O;"), engine.MigrateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.Steps[0].Outcome); got != c.want {
			t.Errorf("%s, then %s: %s, want %s\n%s", c.before, c.after, got, c.want, m)
		}
	}
}
