package engine_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const openMatchesApp = `@app:playback() define stream S (k long, b bool);
from every a=S[not b] -> b=S[b and k == a.k] within 1 min select b.k as k insert into Out;`

// matchFeeder opens a match for each new key, and closes the oldest one.
type matchFeeder struct {
	engine *engine.Engine
	stream *siddhiql.Stream
	batch  *event.Batch
}

func newMatchFeeder(tb testing.TB) *matchFeeder {
	tb.Helper()
	plan, err := siddhiql.Compile(openMatchesApp)
	if err != nil {
		tb.Fatal(err)
	}
	return &matchFeeder{newPatternEngine(tb, plan), plan.Stream("S"), event.NewBatch(plan.Stream("S").Schema)}
}

func (f *matchFeeder) send(key int64, closes bool) {
	f.batch.Reset()
	f.batch.Cols[0].AppendInt(key)
	f.batch.Cols[1].AppendBool(closes)
	f.batch.TS = append(f.batch.TS, 1000+key/100_000)
	f.engine.Send(f.stream, f.batch, 0, 1, 0)
	f.engine.ResetOutputs()
}

// Partial matches are counted while they are open.
func TestPartialMatchesAreCounted(t *testing.T) {
	f := newMatchFeeder(t)
	for key := range int64(11) {
		f.send(key, false)
	}
	if n := f.engine.PartialMatches(); n != 11 {
		t.Errorf("%d partial matches, want 11", n)
	}
	for key := range int64(100) {
		f.send(key, false)
		f.send(key, true)
	}
	if n := f.engine.PartialMatches(); n != 0 {
		t.Errorf("%d partial matches after all ended", n)
	}
}
