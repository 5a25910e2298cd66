package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/test/program"
)

var overload = flag.Duration("overload", 3*time.Second, "how long at least more events are published than a task can apply")

const (
	floodApp = `@app:name('flood')
define stream S (v long); define stream Quiet (v long);
from S select v insert into Out; from Quiet select v insert into QuietOut;`

	floodPerMessage = 100  // events
	floodWindow     = 256  // messages in flight
	floodRate       = 2000 // events/s, until the task's pace is known
	floodMemoryMax  = 16 << 20
	// floodAhead is how many events may wait beyond the limit: those of results that the output
	// stream does not have yet (two batches and the current frame), and those accepted before the
	// first results were sent, which show the pace.
	floodAhead = 80_000
	// floodProcessMax bounds the memory of the process: what ingest holds (16 MiB of rows and as
	// much of messages), the queues of the embedded server, and as much again of garbage.
	floodProcessMax = 256 << 20
)

// TestOverload measures the pace of a task, publishes about twice as many events, and then far
// fewer. Under overload some events are refused, and repeated until they are acknowledged; each has
// its result exactly once. The number of waiting events is bounded, checkpoints are committed, and
// doctor and metrics report the overload. Afterwards everything is back to normal.
func TestOverload(t *testing.T) {
	t.Setenv("GOGC", "100") // the pace of collections that users have; memory is measured here
	lagMax := min(max(*overload/60, 500*time.Millisecond), 3*time.Second)
	metrics := program.Address(t)
	p := serving(t, t.TempDir(), write(t, "flood.siddhi", floodApp), "--metrics.listen", metrics,
		"--ingest.lag_max="+lagMax.String(), "--ingest.memory_max="+strconv.Itoa(floodMemoryMax), "--checkpoint.interval=500ms")
	f := newFlood(t, p, metrics)

	begun := time.Now()
	seen := f.watchDoctor()
	f.publish(2, true, func() bool {
		return time.Since(begun) >= *overload && f.refused > 0 && len(f.commits) > 3 && f.closed && len(seen) > 0
	})
	took := time.Since(begun)
	select {
	case text := <-seen:
		t.Logf("doctor: %s", text)
	default:
		t.Error("doctor has not seen that events are refused")
	}
	if f.refused == 0 {
		t.Error("nothing was refused: the lag has no bound")
	}
	f.publish(1, false, func() bool { return f.flying == 0 && len(f.again) == 0 })
	if f.acknowledged != f.sent {
		t.Errorf("%d of %d messages are acknowledged", f.acknowledged, f.sent)
	}
	refused, gap := f.refused, f.longestGap()

	inARow, accepted, others := 0, f.acknowledged, f.refused
	f.publish(0.5, true, func() bool {
		if inARow += f.acknowledged - accepted; f.refused != others {
			inARow = 0
		}
		accepted, others = f.acknowledged, f.refused
		return inARow > 20
	})
	f.publish(1, false, func() bool { return f.flying == 0 && len(f.again) == 0 })
	eventually(t, "the task has caught up, and nothing is refused", func() bool {
		return f.load().Lag == 0 && f.metric("eventflux_log_closed") == 0
	})
	if text := doctorRow(t, p.url()); text != "" {
		t.Errorf("doctor, when all is well: %s", text)
	}

	want := uint64(f.sent * floodPerMessage)
	dropped := uint64(f.metric("eventflux_ingest_dropped_messages_total"))
	quiet := uint64(f.sent+f.repeated) - dropped
	eventually(t, "all results are out", func() bool { return f.load().Results >= want+quiet })
	waits := newWaits()
	if n := waits.read(t, p.connect(), "Out", want); n != want {
		t.Errorf("results of events that were never published: there is one of %d, and %d were", n-1, want)
	}
	if n := waits.read(t, p.connect(), "QuietOut", quiet); n > uint64(f.sent+f.repeated) {
		t.Errorf("%d results of messages without a reply", n)
	}
	most, lag, best := waits.most()
	bound := best*lagMax.Seconds() + floodAhead
	t.Logf("limit %s; %d events in %.1f s; %d of %d messages refused and sent again, %d of %d without a reply dropped; "+
		"at most %d events waited, bound %.0f (best pace %.0f/s); the longest wait for a result %s; %d checkpoints, at most %s apart; memory %d MiB, limit %d MiB",
		lagMax, want+quiet, took.Seconds(), refused, f.sent+f.repeated, dropped, f.sent+f.repeated,
		most, bound, best, lag.Round(time.Millisecond), len(f.commits), gap.Round(time.Millisecond), f.memory>>20, floodProcessMax>>20)
	if float64(most) > bound {
		t.Errorf("%d events waited, want at most %.0f", most, bound)
	}
	if gap > patience {
		t.Errorf("no checkpoint for %s", gap)
	}
	if f.memory > floodProcessMax {
		t.Errorf("the process took %d bytes of memory, limit %d", f.memory, floodProcessMax)
	}
	p.stop()
}

// flood publishes events and counts the answers.
type flood struct {
	t       *testing.T
	nc      *nats.Conn
	url     string
	metrics string
	inbox   string
	answers chan *nats.Msg

	sent, acknowledged, refused, flying int   // messages; sent counts each one once
	repeated                            int   // messages that were sent again
	again                               []int // refused messages

	looked  time.Time
	events  uint64      // applied at the last look
	pace    float64     // events/s that the task applies, between the last two looks
	commits []time.Time // when checkpoints were first seen
	newest  uint64
	closed  bool // the metrics have reported that events are refused
	memory  uint64
}

func newFlood(t *testing.T, p *process, metrics string) *flood {
	f := &flood{t: t, nc: p.connect(), url: p.url(), metrics: metrics, inbox: nats.NewInbox(), answers: make(chan *nats.Msg, floodWindow), looked: time.Now()}
	_, err := f.nc.ChanSubscribe(f.inbox+".*", f.answers)
	must(t, err)
	return f
}

// publish publishes at a multiple of the task's pace until done: refused messages, and new ones if
// fresh. It keeps at most a window of messages in flight.
func (f *flood) publish(times float64, fresh bool, done func() bool) {
	f.t.Helper()
	budget, last := 0.0, time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for progress := time.Now(); !done(); {
		if time.Since(progress) > *overload+10*patience {
			f.t.Fatalf("still publishing: %d sent, %d acknowledged, %d refused, %d in flight, %d checkpoints, closed seen: %t",
				f.sent, f.acknowledged, f.refused, f.flying, len(f.commits), f.closed)
		}
		now := time.Now()
		budget = min(budget+now.Sub(last).Seconds()*max(times*f.pace, floodRate)/floodPerMessage, floodWindow)
		last = now
		for ; budget >= 1 && f.flying < floodWindow && (fresh || len(f.again) > 0); budget-- {
			f.offer(fresh)
		}
		select {
		case m := <-f.answers:
			f.take(m)
		case <-tick.C:
		}
		f.look()
	}
}

// offer publishes a message, and a second one without asking for an answer.
func (f *flood) offer(fresh bool) {
	i := f.sent
	if len(f.again) > 0 && (!fresh || len(f.again) >= floodWindow) {
		i, f.again = f.again[0], f.again[1:]
		f.repeated++
	} else {
		f.sent++
	}
	var data bytes.Buffer
	for v := range floodPerMessage {
		fmt.Fprintf(&data, "{\"v\":%d}\n", i*floodPerMessage+v)
	}
	m := &nats.Msg{Subject: "events.S", Reply: f.inbox + "." + strconv.Itoa(i), Data: data.Bytes(), Header: nats.Header{}}
	m.Header.Set("Nats-Msg-Id", "m"+strconv.Itoa(i))
	must(f.t, f.nc.PublishMsg(m))
	must(f.t, f.nc.Publish("events.Quiet", fmt.Appendf(nil, `{"v":%d}`, f.sent+f.repeated-1)))
	f.flying++
}

func (f *flood) take(m *nats.Msg) {
	f.t.Helper()
	f.flying--
	i, err := strconv.Atoi(m.Subject[len(f.inbox)+1:])
	must(f.t, err)
	var answer struct {
		Error *struct {
			Code    int `json:"code"`
			ErrCode int `json:"err_code"`
		} `json:"error"`
	}
	must(f.t, json.Unmarshal(m.Data, &answer))
	switch {
	case answer.Error == nil:
		f.acknowledged++
	case answer.Error.Code == 503:
		f.refused++
		f.again = append(f.again, i)
	default:
		f.t.Fatalf("message %d: %s", i, m.Data)
	}
}

// look takes measurements from time to time.
func (f *flood) look() {
	f.t.Helper()
	since := time.Since(f.looked)
	if since < 250*time.Millisecond {
		return
	}
	l := f.load()
	since, f.looked = time.Since(f.looked), time.Now()
	f.pace, f.events = float64(l.Events-f.events)/since.Seconds(), l.Events
	if l.Checkpoint > f.newest {
		f.newest, f.commits = l.Checkpoint, append(f.commits, time.Now())
	}
	f.closed = f.closed || f.metric("eventflux_log_closed") == 1
	f.memory = max(f.memory, uint64(f.metric("process_resident_memory_bytes")))
}

// longestGap returns the longest time without a new checkpoint so far.
func (f *flood) longestGap() (gap time.Duration) {
	for i := range f.commits[1:] {
		gap = max(gap, f.commits[i+1].Sub(f.commits[i]))
	}
	return max(gap, time.Since(f.commits[len(f.commits)-1]))
}

// load is the load of a task as ef.processor.tasks reports it.
type load struct {
	Lag        float64 `json:"lag_seconds"`
	Events     uint64  `json:"events"`
	Results    uint64  `json:"results"`
	Checkpoint uint64  `json:"checkpoint"`
}

func (f *flood) load() load {
	f.t.Helper()
	m, err := f.nc.Request("ef.processor.tasks", nil, patience)
	must(f.t, err)
	var list struct{ Tasks []load }
	if err := json.Unmarshal(m.Data, &list); err != nil || len(list.Tasks) != 1 {
		f.t.Fatalf("%d tasks: %v", len(list.Tasks), err)
	}
	return list.Tasks[0]
}

// metric returns the value of a metric that has one series.
func (f *flood) metric(name string) float64 {
	f.t.Helper()
	text, err := get(f.metrics, "/metrics")
	must(f.t, err)
	found := regexp.MustCompile(`(?m)^` + name + `(?:{.*})? (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		f.t.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	must(f.t, err)
	return v
}

// watchDoctor asks doctor until it reports that events are refused, and returns that row.
func (f *flood) watchDoctor() <-chan string {
	seen, stop, ended := make(chan string, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for len(seen) == 0 {
			select {
			case <-stop:
				return
			default:
			}
			if row := doctorRow(f.t, f.url); row != "" {
				seen <- row
			}
		}
	}()
	f.t.Cleanup(func() { close(stop); <-ended })
	return seen
}

// doctorRow returns doctor's row about refused events, or "".
func doctorRow(t *testing.T, url string) string {
	out, err := exec.Command(binary, "doctor", "--server", url, "--json").Output()
	var code *exec.ExitError
	if err != nil && (!errors.As(err, &code) || code.ExitCode() != 1) {
		t.Errorf("doctor: %v", err)
	}
	var told struct {
		Findings []struct{ Severity, Subject, Meaning, Fix string }
	}
	if err := json.Unmarshal(out, &told); err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	for _, row := range told.Findings {
		if row.Severity != "ok" && strings.Contains(row.Meaning, "ingest.lag_max") {
			return fmt.Sprintf("%s: %s | %s", row.Subject, row.Meaning, row.Fix)
		}
	}
	return ""
}

// waits derives from the output stream how many events waited: each result has the time when its
// event was accepted, and the time when the stream stored it.
type waits struct {
	accepted, stored map[int64]int // number of events, by ms
	lag              time.Duration // longest time from accepted to stored
}

func newWaits() *waits { return &waits{accepted: map[int64]int{}, stored: map[int64]int{}} }

// read reads the results of a stream, and checks that no event has two. It returns their number.
func (w *waits) read(t *testing.T, nc *nats.Conn, stream string, events uint64) uint64 {
	t.Helper()
	js, err := jetstream.New(nc)
	must(t, err)
	consumer, err := js.OrderedConsumer(t.Context(), natsconn.OutStream("flood", 0), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject("flood", stream, 0)}})
	must(t, err)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(5000))
	must(t, err)
	defer messages.Stop()
	var seen []bool
	for range events {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		must(t, err)
		var row struct{ V int }
		must(t, json.Unmarshal(m.Data(), &row))
		if n := row.V + 1 - len(seen); n > 0 {
			seen = append(seen, make([]bool, n)...)
		}
		if seen[row.V] {
			t.Fatalf("event %d of %s has a second result", row.V, stream)
		}
		seen[row.V] = true
		at, err := strconv.ParseInt(m.Headers().Get("Ef-Timestamp"), 10, 64)
		must(t, err)
		meta, err := m.Metadata()
		must(t, err)
		w.accepted[at]++
		w.stored[meta.Timestamp.UnixMilli()]++
		w.lag = max(w.lag, meta.Timestamp.Sub(time.UnixMilli(at)))
	}
	if m, err := messages.Next(jetstream.NextMaxWait(time.Second)); err == nil {
		t.Fatalf("%s has more than %d results: %s", stream, events, m.Data())
	}
	return uint64(len(seen))
}

// most returns the largest number of waiting events, the longest wait, and the most results per
// second that the stream has stored.
func (w *waits) most() (events int, lag time.Duration, best float64) {
	times := map[int64]bool{}
	for ms := range w.accepted {
		times[ms] = true
	}
	for ms := range w.stored {
		times[ms] = true
	}
	all := make([]int64, 0, len(times))
	for ms := range times {
		all = append(all, ms)
	}
	slices.Sort(all)
	waiting, second, from := 0, 0, 0
	for _, ms := range all {
		waiting += w.accepted[ms] - w.stored[ms]
		events = max(events, waiting)
		for second += w.stored[ms]; all[from] <= ms-1000; from++ {
			second -= w.stored[all[from]]
		}
		best = max(best, float64(second))
	}
	return events, w.lag, best
}
