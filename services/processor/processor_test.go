package processor

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const sums = `@app:name('sums')
define stream S (k string, v int);
from S#length(3) select k, sum(v) as total insert into Out;
from S[v > 5] select k, v insert into Big;`

func TestResultsHavePositions(t *testing.T) {
	r := newRig(t, sums)
	r.send("S", 1000, "", "a", 1)
	r.send("S", 1001, "", "b", 7)
	r.drained()
	want := []string{
		`out.sums.Out.0 2.0 current 1000 {"k":"a","total":1}`,
		`out.sums.Out.0 3.0 current 1001 {"k":"b","total":8}`,
		`out.sums.Big.0 3.1 current 1001 {"k":"b","v":7}`,
	}
	if got := r.results(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Owners end at any moment, others take over from the log, and sometimes two run at once. The
// results are the same as those of a single undisturbed owner.
func TestEveryResultOnceWhateverEnds(t *testing.T) {
	const packed = `@app:name('sums')
define stream S (k string, v int);
@sink(stream='Packed', pack='ndjson')
from S select k, v insert into Packed;
from S#length(3) select k, sum(v) as total insert into Out;
from S[v > 5] select k, v insert into Big;`
	const chosen = `@app:name('sums')
define stream S (k string, v int);
@sink(stream='Each', subject='each.{k}.{v}')
from S select k, v insert into Each;
@sink(stream='Packed', subject='packed.{partition}', pack='ndjson')
from S select k, v insert into Packed;
from S#length(3) select k, sum(v) as total insert into Out;
@sink(stream='Big', subject='big.{v}')
from S[v > 5] select k, v insert into Big;`
	for name, app := range map[string]string{"plain": sums, "packed": packed, "subjects of the app's choice": chosen} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			r, calm := newRig(t, app), newRig(t, app)
			for round := range 12 {
				var stops []func()
				for range 1 + random.IntN(2) {
					_, stop := r.start()
					stops = append(stops, stop)
				}
				for i := range 30 {
					r.send("S", int64(1000*round+i), "", "k", random.IntN(10))
				}
				for _, stop := range stops {
					stop()
				}
			}
			r.drained()
			copyLog(t, r, calm)
			calm.drained()
			got, want := rows(r.results()), rows(calm.results())
			for stream, lines := range want {
				if !slices.Equal(got[stream], lines) {
					t.Errorf("%s: got %d rows, want %d\n%s\nwant\n%s", stream, len(got[stream]), len(lines),
						strings.Join(got[stream], "\n"), strings.Join(lines, "\n"))
				}
			}
		})
	}
}

// copyLog copies the log of the first rig, after the deploy frame, byte for byte to the second.
func copyLog(t *testing.T, from, to *rig) {
	stream, err := from.js.Stream(from.within(), natsconn.WALStream(from.plan.Name, 0))
	must(t, err)
	info, err := stream.Info(from.within())
	must(t, err)
	for seq := info.State.FirstSeq + 1; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(from.within(), seq)
		must(t, err)
		_, err = to.js.Publish(to.within(), m.Subject, m.Data)
		must(t, err)
	}
}

// rows returns the rows of each subject. Where packed messages end depends on
// where an owner took over, but not the rows in them.
func rows(results []string) map[string][]string {
	bySubject := map[string][]string{}
	for _, line := range results {
		f := strings.SplitN(line, " ", 5)
		bySubject[f[0]] = append(bySubject[f[0]], strings.Split(strings.TrimSpace(f[4]), "\n")...)
	}
	return bySubject
}

func TestMessageIDsAreAppliedOnce(t *testing.T) {
	r := newRig(t, sums)
	r.send("S", 1000, "id-1", "a", 1)
	r.send("S", 1001, "id-1", "a", 1)
	r.send("S", 1002, "id-2", "a", 1)
	r.send("S", 1000+2*60_000, "id-1", "a", 1) // the window of 2 minutes is over
	info := r.drained()
	if info.Duplicates != 1 || info.Events != 3 {
		t.Errorf("%d duplicates, %d events; want 1 and 3", info.Duplicates, info.Events)
	}
}

// A timer goes off although no event comes.
func TestTicksLetTimersFire(t *testing.T) {
	r := newRig(t, `@app:name('late')
define stream S (v int);
from S#time(50 millisec) select v insert expired events into Out;`)
	s, _ := r.start()
	r.send("S", time.Now().UnixMilli(), "", 1)
	r.eventually("the row has expired", func() bool { return r.info(s).Results == 1 })
	must(t, s.Drain(r.within()))
	if got := r.results(); len(got) != 1 || !strings.Contains(got[0], "expired") {
		t.Errorf("results %q", got)
	}
}

// What a former owner still sends is refused, and it stops.
func TestFormerOwnerIsFencedOff(t *testing.T) {
	r := newRig(t, sums)
	first, _ := r.start()
	r.eventually("the first owner runs", func() bool { return r.info(first).State == control.TaskRunning || r.info(first).Applied == 0 })
	r.send("S", 1000, "", "a", 1)
	r.eventually("the first owner has results", func() bool { return r.info(first).Results > 0 })
	second, _ := r.start()
	r.eventually("the second owner has taken over", func() bool { return r.info(second).State == control.TaskRunning })
	r.send("S", 1001, "", "a", 2)
	r.eventually("the first owner is fenced", func() bool { return r.info(first).State == control.TaskFenced })
	if info := r.info(first); !strings.Contains(info.Error, errFenced.Error()) {
		t.Errorf("fenced with %q, want %q", info.Error, errFenced)
	}
	must(t, second.Drain(r.within()))
	if got := len(r.results()); got != 2 {
		t.Errorf("%d results, want 2", got)
	}
}

// A damaged log halts its task, which says where and why; the others go on.
func TestDamageHalts(t *testing.T) {
	tests := map[string]struct {
		damage func(t *testing.T, r *rig)
		want   string
	}{
		"no frame": {func(t *testing.T, r *rig) {
			_, err := r.js.Publish(r.within(), natsconn.WALSubject("sums", 0), []byte("hello"))
			must(t, err)
		}, "log sequence 3: "},
		"zeros": {func(t *testing.T, r *rig) {
			_, err := r.js.Publish(r.within(), natsconn.WALSubject("sums", 0), make([]byte, 4096))
			must(t, err)
		}, "log sequence 3: "},
		"flipped bit": {func(t *testing.T, r *rig) {
			republish(t, r, 2, func(b []byte) { b[len(b)/2] ^= 1 })
		}, "log sequence 3: "},
		"lost frame": {func(t *testing.T, r *rig) {
			lost := newRig(t, sums)
			lost.send("S", 1000, "", "a", 1)
			lost.send("S", 1000, "", "a", 2)
			m := get(t, lost, 3)
			_, err := r.js.Publish(r.within(), natsconn.WALSubject("sums", 0), m)
			must(t, err)
		}, "log sequence 3: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, sums)
			r.send("S", 1000, "", "a", 1)
			test.damage(t, r)
			s, _ := r.start()
			r.eventually("the task has halted", func() bool { return r.info(s).State == control.TaskHalted })
			if info := r.info(s); !strings.Contains(info.Error, test.want) {
				t.Errorf("halted with %q, want %q in it", info.Error, test.want)
			}
			r.eventually("the result before the damage is out", func() bool { return len(r.results()) <= 1 })
		})
	}
}

func get(t *testing.T, r *rig, seq uint64) []byte {
	t.Helper()
	stream, err := r.js.Stream(r.within(), natsconn.WALStream(r.plan.Name, 0))
	must(t, err)
	m, err := stream.GetMsg(r.within(), seq)
	must(t, err)
	return m.Data
}

func republish(t *testing.T, r *rig, seq uint64, change func([]byte)) {
	t.Helper()
	data := get(t, r, seq)
	change(data)
	_, err := r.js.Publish(r.within(), natsconn.WALSubject(r.plan.Name, 0), data)
	must(t, err)
}

// An app whose definition has changed is refused where the log has other events.
func TestChangedAppIsRefused(t *testing.T) {
	r := newRig(t, sums)
	r.send("S", 1000, "", "a", 1)
	changed := newRig(t, strings.Replace(sums, "k string, v int", "k string, v long", 1))
	copyLog(t, r, changed)
	s, _ := changed.start()
	changed.eventually("the task has halted", func() bool { return changed.info(s).State == control.TaskHalted })
	if info := changed.info(s); !strings.Contains(info.Error, "S(k string, v int)") {
		t.Errorf("halted with %q", info.Error)
	}
}

// Another text on the same log is refused before it emits anything; layout and
// comments are no change.
func TestChangedTextIsRefused(t *testing.T) {
	r := newRig(t, sums)
	r.send("S", 1000, "", "a", 7)
	r.drained()
	before := r.results()
	for text, refused := range map[string]bool{
		"-- the same\n" + sums:                     false,
		strings.Replace(sums, "v > 5", "v > 6", 1): true,
	} {
		plan, err := siddhiql.Compile(text)
		must(t, err)
		r.plan = plan
		s, stop := r.start()
		r.eventually("the task has decided", func() bool {
			state := r.info(s).State
			return state == control.TaskHalted || state == control.TaskRunning
		})
		if info := r.info(s); (info.State == control.TaskHalted) != refused || refused && !strings.Contains(info.Error, "another @app:name") {
			t.Errorf("%q: state %s, error %q", text, info.State, info.Error)
		}
		stop()
	}
	if got := r.results(); !slices.Equal(got, before) {
		t.Errorf("results %q, before %q", got, before)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{})
	if err == nil || !strings.Contains(err.Error(), "connection") || !strings.Contains(err.Error(), "dedup.window") {
		t.Errorf("got %v, want both problems", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
