package engine_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
)

// patternsApp has patterns with steps of every kind.
const patternsApp = `@app:name('golden')
define stream S (k string, g int, v int, d double, t long, f float, b bool, o object);
define stream T (k string, v long);
@info(name = 'follows') from every a=S -> b=T[k == a.k] within 2 sec select a.k, a.o, b.v insert into O1;
@info(name = 'twice') from every a=S[v > 5] -> every b=T[v > a.v] within 300 millisec select a.v, b.v as w insert into O2;
@info(name = 'counts') from every a=S[v > 5]<2:4> -> b=S[v < a[last].v]<0:> -> c=T[k == a[0].k] within 3 sec
select a[0].k, a[1].d, a[last].f, a[last-1].b, b[last].v as w, c.v as x insert into O3;
@info(name = 'both') from every a=S[g == 1] and b=T[v > 500] -> c=S[k == b.k] within 2 sec select a.k, b.v, c.t insert into O4;
@info(name = 'either') from every a=S[g == 1] or b=T -> c=S[v > 30] within 1 sec select a.v, b.v as w, c.v as x insert into O5;
@info(name = 'silent') from every a=S -> not S[k == a.k] for 400 millisec select a.k, count() as n group by a.k insert into O6;
@info(name = 'unanswered') from every a=S -> not T[k == a.k] and b=S[k == a.k and v > a.v] within 2 sec select a.k, b.v insert into O7;
@info(name = 'waits') from every a=S -> not T[k == a.k] for 500 millisec and b=S[g == 0] select a.k, b.k as l insert into O8;
@info(name = 'gives') from every a=S[v > 20] -> not T for 500 millisec or b=S[k == a.k] select a.k, b.v insert into O9;
@info(name = 'quiet') from every not T for 300 millisec -> b=S[v > 10] within 2 sec select b.k insert into O10;
@info(name = 'spoiled') from every not T and b=S[v == 1000] select b.k insert into O11;
@info(name = 'once') from a=T -> b=S<3> -> c=S[k == 'never'] select b[2].k, c.v insert into O12;
@info(name = 'rising') from every a=S, b=S[v > a.v]+, c=S[v < b[last].v] select a.v, b[0].v as w, b[last].v as x, c.v as y insert into O13;
@info(name = 'tried') from every a=S[v > 10], b=S?, c=T within 1 sec select a.v, b[0].v as w, c.v as x insert into O14;
partition with (k of S, k of T) begin
  @info(name = 'ofKey') from every a=S -> b=S[v > a.v] -> c=T within 2 sec select a.v, b.v as w, c.v as x insert into O15;
  @info(name = 'ofKeySilent') from every a=S -> not S for 300 millisec select a.k insert into O16;
  @info(name = 'ofKeyRun') from every a=S, b=S, c=T select a.v, b.v as w, c.v as x insert into O17;
  @info(name = 'ofKeyStart') from not T for 200 millisec -> a=S select a.k insert into O18;
end;
`

var patternsSet = goldenSet{patternsApp, "testdata/golden-patterns", func(id string) bool { return strings.HasSuffix(id, "/pattern") }}

// The same for patterns and sequences.
func TestGoldenStatesOfPatterns(t *testing.T) { patternsSet.checkStates(t) }

func TestAlteredEntriesOfPatternsAreSurvived(t *testing.T) { patternsSet.checkAltered(t) }

// A partial match of any bytes is an error or can be used, and never a panic.
func FuzzPutMatch(f *testing.F) {
	d := &damaged{plan: patternsSet.plan(f), entries: map[string][]state.Entry{}}
	frames := goldenInput(f, d.plan)
	d.frames = frames[goldenCut:]
	task := patternsSet.task(f, d.plan)
	applyGolden(f, task, frames[:goldenCut], 0)
	var ids []string
	for _, h := range engine.Registry(task.Components()).List() {
		id := h.Info().ID
		d.entries[id] = h.Snapshot().Entries()
		if patternsSet.has(id) {
			ids = append(ids, id)
		}
	}
	for n, id := range ids {
		for _, e := range d.entries[id][:min(3, len(d.entries[id]))] {
			f.Add(uint8(n), e.Key, e.Value)
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, key, value []byte) {
		id := ids[int(n)%len(ids)]
		var entries []state.Entry
		for _, e := range d.entries[id] {
			if !bytes.Equal(e.Key, key) {
				entries = append(entries, e)
			}
		}
		task := patternsSet.task(t, d.plan)
		if d.load(task, id, append(entries, state.Entry{Key: key, Value: value})) == nil {
			d.use(t, task, 12)
		}
	})
}
