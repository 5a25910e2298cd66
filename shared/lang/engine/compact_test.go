package engine_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
)

const groupedApp = `define stream S (k string, t long);
from S#window.%s select k, count() as n, sum(t) as total, min(t) as least, max(t) as most, avg(t) as mean, stdDev(t) as spread,
  distinctCount(t) as d, percentile(t, 90) as p %s insert all events into O;`

// Groups that move to other slots, and groups that do not, give the same rows. The changes, and a
// frozen state, have all entries of both. One group has a state of several parts.
func TestGroupsThatMoveLeaveNoTrace(t *testing.T) {
	for _, window := range []string{"session(200 millisec)", "time(300 millisec)", "length(1500)", "timeBatch(60 millisec)", "session(200 millisec, k)"} {
		t.Run(window, func(t *testing.T) {
			app := fmt.Sprintf(groupedApp, window, "group by k")
			stays := newKeyed(t, app)
			steps := burstsOfKeys()
			var want []string
			for _, s := range steps {
				want = append(want, stays.send(s.key, s.ms))
			}
			engine.CompactFrom(t, 256)
			moves, times, slots := newKeyed(t, app), 0, 0
			for i := 0; i < len(steps); {
				moves.delta(i%2 == 0, func() {
					for end := min(i+1+i%150, len(steps)); i < end; i++ {
						if got := moves.send(steps[i].key, steps[i].ms); got != want[i] {
							t.Fatalf("step %d:\n%s\nwant\n%s", i, got, want[i])
						}
						if n := moves.GroupSlots(); n < slots {
							times++
						}
						slots = moves.GroupSlots()
					}
				})
			}
			if times == 0 {
				t.Errorf("the groups never moved")
			}
		})
	}
}

type keyAt struct {
	key string
	ms  int64
}

// burstsOfKeys returns events of a few keys, and from time to time of many keys at once.
func burstsOfKeys() (steps []keyAt) {
	draw := rand.New(rand.NewPCG(1, 2))
	ms := int64(1000)
	for range 3 {
		for i := range 1500 {
			ms += int64(i % 50 / 49)
			steps = append(steps, keyAt{fmt.Sprint("of many ", draw.IntN(1<<30)), ms})
		}
		for range 1800 {
			ms += 1 + draw.Int64N(2)
			key := "large"
			switch n := draw.IntN(20); {
			case n < 2:
				key = "a key with a long text"
			case n < 8:
				key = fmt.Sprint("rare ", draw.IntN(12))
			}
			steps = append(steps, keyAt{key, ms})
		}
		ms += 250
	}
	return steps
}

// Many groups, keys and rows that were there at the same time take no memory once they have left,
// however many they were.
func TestManyAtOnceHoldNoMemory(t *testing.T) {
	most := 300_000
	if testing.Short() {
		most = 60_000
	}
	const grouped = `define stream S (k string, t long);
		from S#window.%s select k, count() as n, min(t) as least, distinctCount(t) as d group by k insert all events into O;`
	for _, test := range []struct{ name, app string }{
		{"groups of a session", fmt.Sprintf(grouped, "session(1 sec)")},
		{"groups of sessions with keys", fmt.Sprintf(grouped, "session(1 sec, k)")},
		{"groups of time", fmt.Sprintf(grouped, "time(1 sec)")},
		{"groups of timeBatch", fmt.Sprintf(grouped, "timeBatch(1 sec)")},
		{"partition keys with a session", fmt.Sprintf(idleApp, "", "session(1 sec)", "")},
		{"partition keys with time", fmt.Sprintf(idleApp, "", "time(1 sec)", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			heap := map[int]uint64{}
			for _, n := range []int{1000, most} {
				empty := heapInUse()
				k := newKeyed(t, test.app)
				const ms = 1_000_000
				for i := range n {
					k.send(fmt.Sprint("one of many keys ", i), ms)
				}
				peak := heapInUse() - empty
				k.Advance(ms + 3600_000)
				k.ResetOutputs()
				for i := range int64(200) { // the app goes on with few of them
					k.send(fmt.Sprint("one of few keys ", i%10), ms+3600_000+100*i)
				}
				now := heapInUse()
				heap[n] = now - min(empty, now)
				t.Logf("%d keys: %d KiB at once, %d KiB later", n, peak>>10, heap[n]>>10)
				runtime.KeepAlive(k)
			}
			if few := max(heap[1000], 4<<20); heap[most] > 2*few {
				t.Errorf("%d keys leave %d bytes, and 1000 leave %d", most, heap[most], heap[1000])
			}
		})
	}
}
