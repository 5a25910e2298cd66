package engine_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// keyed is an app with a partition, and its state as deltas have it.
type keyed struct {
	*engine.Engine
	tb      testing.TB
	plan    *siddhiql.Plan
	batch   *event.Batch
	entries map[string]map[string]string // what changes make of the state
}

func newKeyed(tb testing.TB, app string) *keyed {
	tb.Helper()
	plan, err := siddhiql.Compile(app)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := engine.New(plan)
	if err != nil {
		tb.Fatal(err)
	}
	k := &keyed{Engine: e, tb: tb, plan: plan, batch: event.NewBatch(plan.Stream("S").Schema), entries: map[string]map[string]string{}}
	for _, c := range e.Components() {
		k.entries[c.ID] = map[string]string{}
	}
	return k
}

// send has an event of the key arrive at ms, and returns the rows that follow.
func (k *keyed) send(key string, ms int64) string {
	k.tb.Helper()
	k.batch.Reset()
	if err := rowjson.NewDecoder(k.batch.Schema).Values(k.batch, fmt.Appendf(nil, `["%s",%d]`, key, ms), ms); err != nil {
		k.tb.Fatal(err)
	}
	k.Send(k.plan.Stream("S"), k.batch, 0, 1, ms)
	return k.rows()
}

func (k *keyed) rows() string {
	var out strings.Builder
	for _, o := range k.Outputs() {
		b, kinds := k.Rows(int(o.Query))
		for i := o.From; i < o.To; i++ {
			fmt.Fprintln(&out, o.Query, o.Chunk, o.Clock, kinds[i], b.TS[i], string(rowjson.AppendArray(nil, b, int(i))))
		}
	}
	k.ResetOutputs()
	return out.String()
}

// delta takes the changes of a part of the components: by Freeze, or by Changed.
func (k *keyed) delta(freeze bool, between func()) {
	components := k.Components()
	type told struct {
		value string
		there bool
	}
	frozen := map[string]map[string]told{}
	for _, c := range components {
		f, ok := c.Source.(state.Freezer)
		if !ok || !freeze {
			continue
		}
		list := map[string]told{}
		frozen[c.ID] = list
		f.Freeze(func(key, value []byte, there bool) {
			if there || !list[string(key)].there {
				list[string(key)] = told{string(value), there}
			}
		})
	}
	before := k.snapshot()
	between()
	for _, c := range components {
		list, ok := frozen[c.ID]
		if !ok {
			continue
		}
		for c.Source.(state.Freezer).Thaw(1) {
		}
		for key, t := range list {
			if t.there {
				k.entries[c.ID][key] = t.value
			} else {
				delete(k.entries[c.ID], key)
			}
		}
		k.compare(c.ID, before[c.ID])
	}
	for _, c := range components {
		c.Source.Changed(func(key []byte) {
			if value, ok := c.Source.Append(nil, key); ok {
				k.entries[c.ID][string(key)] = string(value)
			} else {
				delete(k.entries[c.ID], string(key))
			}
		})
		k.compare(c.ID, k.snapshot()[c.ID])
	}
}

func (k *keyed) snapshot() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, c := range k.Components() {
		all[c.ID] = map[string]string{}
		c.Source.Keys(func(key []byte) {
			if value, ok := c.Source.Append(nil, key); ok {
				all[c.ID][string(key)] = string(value)
			}
		})
	}
	return all
}

func (k *keyed) compare(id string, want map[string]string) {
	k.tb.Helper()
	if got := k.entries[id]; fmt.Sprint(got) != fmt.Sprint(want) {
		k.tb.Fatalf("%s: by its changes it is %q, and there is %q", id, got, want)
	}
}

const idleApp = `define stream S (k string, t long);
%s partition with (k of S) begin
  from S#window.%s select k, count() as n, min(t) as least, distinctCount(t) as d %s insert all events into #A;
  from #A select k, n, least, d insert into O;
end`

// A key that ended while it was idle, and one that did not, give the same rows; the
// changes, and a frozen state, delete the entries of all keys that went away.
func TestIdleKeysLeaveNoTrace(t *testing.T) {
	for _, purge := range []string{"", "@purge(enable='true', idle.period='60 millisec')"} {
		for _, window := range []string{"session(20 millisec)", "time(30 millisec)", "length(2)", "timeBatch(20 millisec)", "sort(3, t)", "session(20 millisec, k)"} {
			for _, group := range []string{"", "group by t"} {
				app := fmt.Sprintf(idleApp, purge, window, group)
				left := newKeyed(t, app)
				t.Run(purge+window+group, func(t *testing.T) {
					var want []string
					draw := rand.New(rand.NewPCG(1, 2))
					type step struct {
						key string
						ms  int64
					}
					var steps []step
					for ms := int64(1000); len(steps) < 600; ms += draw.Int64N(12) {
						steps = append(steps, step{fmt.Sprint("key ", draw.IntN(30)), ms})
					}
					for _, s := range steps {
						want = append(want, left.send(s.key, s.ms))
					}
					engine.KeepIdle(t, -1<<30)
					ends := newKeyed(t, app)
					for i, s := range steps {
						one := func() {
							if got := ends.send(s.key, s.ms); got != want[i] {
								t.Fatalf("step %d:\n%s\nwant\n%s", i, got, want[i])
							}
						}
						if i%7 == 0 {
							ends.delta(i%2 == 0, one)
						} else {
							one()
						}
					}
				})
			}
		}
	}
}

// Keys whose sessions have ended, and keys that @purge forgot, take no memory and no
// entries, however many there were.
func TestIdleKeysHoldNoMemory(t *testing.T) {
	for _, test := range []struct {
		name, app string
		most      int
	}{
		{"session", fmt.Sprintf(idleApp, "", "session(1 sec)", ""), 300_000},
		{"purge", fmt.Sprintf(idleApp, "@purge(enable='true', interval='1 sec', idle.period='10 sec')", "time(1 hour)", ""), 50_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			app, most := test.app, test.most
			heap := map[int]uint64{}
			for _, n := range []int{1000, most} {
				empty := heapInUse()
				k := newKeyed(t, app)
				ms := int64(1_000_000)
				for i := range n {
					if i%4 == 0 {
						ms += 20 // some 200 sessions are open, or some 2,000 keys are remembered
					}
					k.send(fmt.Sprint("key ", i), ms)
				}
				k.Advance(ms + 3600_000)
				k.ResetOutputs()
				k.send("the last one", ms+3600_001)
				if keys, timers := k.Instances(); keys > 1025 || timers > 2200 {
					t.Errorf("%d keys are left of %d, and %d timers", keys, n, timers)
				}
				entries := 0
				for _, list := range k.snapshot() {
					entries += len(list)
				}
				if entries > 1025*8 {
					t.Errorf("%d entries are left of %d keys", entries, n)
				}
				heap[n] = heapInUse() - min(empty, heapInUse())
				t.Logf("%d keys: %d KiB", n, heap[n]>>10)
				runtime.KeepAlive(k)
			}
			if few := max(heap[1000], 4<<20); heap[most] > 2*few {
				t.Errorf("%d keys leave %d bytes, and 1000 leave %d", most, heap[most], heap[1000])
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
