package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

var scalings = flag.Int("scalings", 2, "number of scalings of a cluster under load, with a fault in each")

const (
	lateApp = `@app:name('Late') @app:partitions('%d') @app:playback(lateness='2 sec')
define stream Ticks (k string, v int);
partition with (k of Ticks) begin
@info(name='sums') from Ticks#window.length(4) select k, v, sum(v) as total insert into Out;
@info(name='rise') from every a=Ticks -> b=Ticks[v > a.v + 50] select a.k as k, a.v as v, convert(b.v, 'long') as total insert into Out;
end;`
	readerApp = `@app:name('Reader') @source(subject='out.Late.Out.*') define stream Sums (k string, v int, total long);
from Sums select k, v, total insert into Seen;`
	tickKeys = 7
	lastTick = -1 // the value of events that only move the clock
)

// tick returns event i: its time in ms, its key and its value. Its time is up to a second late.
func tick(i int) (ts int64, data string) {
	ts = firstTrade + 100*int64(i) - 300*int64(i%3)
	return ts, fmt.Sprintf(`{"k":"k%d","v":%d}`, i%tickKeys, i)
}

func lastTicks() (ts int64, all []string) {
	for k := range tickKeys {
		all = append(all, fmt.Sprintf(`{"k":"k%d","v":%d}`, k, lastTick))
	}
	return firstTrade + 1_000_000_000, all
}

// TestScalingsOfACluster scales an app of a cluster of three checkpointers, two processors with
// standbys and one ingest, under load, up and down. During each scaling a process is killed. The
// results of each key are those of an offline replay of the events, and so is what an app has seen
// that reads them.
func TestScalingsOfACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, append(slices.Clone(often), "--processor.standby=on")...)
	s := &scaledCluster{cluster: c, partitions: 2}
	for _, text := range []string{fmt.Sprintf(lateApp, s.partitions), readerApp} {
		_, err := c.ctl.Deploy(c.within(patience), control.DeployRequest{Text: text})
		must(t, err)
	}
	s.processor = c.startProcessor("p1")
	c.startProcessor("p2")
	s.ingest = c.serve("ingest", t.TempDir())
	s.ingest.awaitReady()

	faults := []func(){
		func() { s.killLeader(faultpoint.ScaleCut) },
		s.killProcessor,
		func() { s.killLeader(faultpoint.ScaleStored) },
		s.killIngest,
		s.transfer,
		func() { s.killLeader(faultpoint.ScaleFrames) },
		func() { s.killLeader(faultpoint.ScaleSplit) },
	}
	for i := range *scalings {
		to := []uint32{5, 1, 8, 3, 1, 4}[i%6]
		ctx, stop := context.WithCancel(context.Background())
		var publishing sync.WaitGroup
		publishing.Go(func() { s.publish(ctx) })
		s.scale(to, faults[i%len(faults)])
		eventually(t, "events are accepted again", func() bool { return s.accepted() > s.scaledAt+2*tickKeys })
		stop()
		publishing.Wait()
	}
	ts, last := lastTicks()
	for k, data := range last {
		s.publishOne(ts, data, fmt.Sprint("last", k))
	}
	want := s.offline()
	eventually(t, "all results are out", func() bool { return countRows(s.keyed("Late", "Out")) >= countRows(want) })
	s.compare("results", s.keyed("Late", "Out"), want)
	eventually(t, "the other app has seen them", func() bool { return countRows(s.keyed("Reader", "Seen")) >= countRows(want) })
	s.compare("results that the other app has read", s.keyed("Reader", "Seen"), want)
}

// scaledCluster is a cluster whose app is scaled.
type scaledCluster struct {
	*cluster
	partitions, most  uint32
	processor, ingest *process
	scaledAt          int // events that were accepted when the last scaling was done

	mu   sync.Mutex
	next int // number of the next event
}

func (s *scaledCluster) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// publish publishes events one after the other until ctx ends, each until it is acknowledged.
func (s *scaledCluster) publish(ctx context.Context) {
	for ctx.Err() == nil {
		i := s.accepted()
		ts, data := tick(i)
		s.publishOne(ts, data, strconv.Itoa(i))
		s.mu.Lock()
		s.next++
		s.mu.Unlock()
	}
}

func (s *scaledCluster) publishOne(ts int64, data, id string) {
	m := &nats.Msg{Subject: "events.Ticks", Data: []byte(data), Header: nats.Header{nats.MsgIdHdr: {id}, "Ef-Timestamp": {strconv.FormatInt(ts, 10)}}}
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-pace.C {
		answer, err := s.nc.RequestMsg(m, time.Second)
		if err == nil && readAnswer(answer) == nil {
			return
		}
	}
	s.t.Errorf("event %s is not accepted", id)
}

// scale scales the app while a fault strikes.
func (s *scaledCluster) scale(to uint32, fault func()) {
	s.t.Helper()
	s.most = max(s.most, to, s.partitions)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		eventually(s.t, fmt.Sprintf("the app has %d partitions", to), func() bool {
			ctx := s.within(10 * time.Second)
			a, err := s.ctl.App(ctx, control.AppRequest{App: "Late"})
			if err != nil {
				return false
			}
			if a.Partitions != to && a.Scaling == nil {
				_, _ = s.ctl.Scale(ctx, control.ScaleRequest{App: "Late", Partitions: to}) // a leader may die
			}
			return a.Partitions == to && a.Scaling == nil && len(a.Missing) == 0
		})
	}()
	fault()
	<-asked
	s.partitions, s.scaledAt = to, s.accepted()
}

// killLeader kills the leader when it comes to a step, and starts it again.
func (s *scaledCluster) killLeader(point faultpoint.Point) {
	s.t.Helper()
	id, _ := s.strikeLeader(dead, fmt.Sprintf("kill %s 1", point))
	delete(s.members, id)
	s.leader() // another one
	s.startMember(id)
}

// whileClosed calls do while the logs are closed, and the leader waits.
func (s *scaledCluster) whileClosed(do func()) {
	s.t.Helper()
	stopped := func(p *process) bool {
		return strings.Contains(p.log.String(), fmt.Sprintf("faultpoint %s: stop", faultpoint.ScaleClosed))
	}
	id, _ := s.strikeLeader(stopped, fmt.Sprintf("stop %s 1", faultpoint.ScaleClosed))
	do()
	s.members[id].arm()
	s.members[id].signal(syscall.SIGCONT)
}

// killProcessor kills a processor while the logs are closed: its tasks start again on another one.
func (s *scaledCluster) killProcessor() {
	s.t.Helper()
	s.whileClosed(func() {
		s.processor.signal(syscall.SIGKILL)
		s.processor.end()
	})
	s.processor = s.startProcessor("p1")
}

func (s *scaledCluster) killIngest() {
	s.t.Helper()
	s.whileClosed(func() {
		s.ingest.signal(syscall.SIGKILL)
		s.ingest.end()
	})
	s.ingest = s.serve("ingest", s.t.TempDir())
}

// transfer makes another checkpointer the leader.
func (s *scaledCluster) transfer() {
	s.t.Helper()
	leader := s.leader()
	for id := range s.members {
		if id != leader {
			s.eventflux("checkpointer", "transfer", id)
			return
		}
	}
}

// keyed returns the results of an app by key, those of earlier generations first, without those of
// the last events.
func (s *scaledCluster) keyed(app, stream string) map[string][]string {
	s.t.Helper()
	generations := map[string]map[int][]string{}
	partitions := uint32(1)
	if app == "Late" {
		partitions = s.most
	}
	for p := range partitions {
		consumer, err := s.js.OrderedConsumer(s.within(patience), natsconn.OutStream(app, p), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject(app, stream, p)}})
		must(s.t, err)
		info, err := consumer.Info(s.within(patience))
		must(s.t, err)
		if info.NumPending == 0 {
			continue
		}
		batch, err := consumer.Fetch(int(info.NumPending), jetstream.FetchMaxWait(patience))
		must(s.t, err)
		for m := range batch.Messages() {
			generation, err := strconv.Atoi(m.Headers().Get("Ef-Generation"))
			must(s.t, err)
			for line := range bytes.Lines(m.Data()) {
				key, row := keyedRow(s.t, line)
				if row == "" {
					continue
				}
				if generations[key] == nil {
					generations[key] = map[int][]string{}
				}
				generations[key][generation] = append(generations[key][generation], row)
			}
		}
		must(s.t, batch.Error())
	}
	rows := map[string][]string{}
	for key, of := range generations {
		for _, g := range slices.Sorted(maps.Keys(of)) {
			rows[key] = append(rows[key], of[g]...)
		}
	}
	return rows
}

// keyedRow returns the key and the row of a result; "" for a result of a last event.
func keyedRow(t *testing.T, data []byte) (key, text string) {
	var r struct {
		K        string
		V, Total int
	}
	must(t, json.Unmarshal(data, &r))
	if r.V == lastTick {
		return "", ""
	}
	return r.K, fmt.Sprintf("v=%d total=%d", r.V, r.Total)
}

// offline returns the results of a replay of all events with one partition.
func (s *scaledCluster) offline() map[string][]string {
	s.t.Helper()
	var lines strings.Builder
	line := func(ts int64, data string) {
		fmt.Fprintf(&lines, `{"stream":"Ticks","ts":%d,"event_ts":%d,"data":%s}`+"\n", firstLine, ts, data)
	}
	for i := range s.accepted() {
		line(tick(i))
	}
	ts, last := lastTicks()
	for _, data := range last {
		line(ts, data)
	}
	out, err := exec.Command(s.program(), "replay", write(s.t, "late.siddhi", fmt.Sprintf(lateApp, 1)), "--events", write(s.t, "ticks.ndjson", lines.String())).Output()
	must(s.t, err)
	rows := map[string][]string{}
	for one := range bytes.Lines(out) {
		var r struct{ Data json.RawMessage }
		must(s.t, json.Unmarshal(one, &r))
		var list []any
		must(s.t, json.Unmarshal(r.Data, &list))
		object, err := json.Marshal(map[string]any{"k": list[0], "v": list[1], "total": list[2]})
		must(s.t, err)
		if key, row := keyedRow(s.t, object); row != "" {
			rows[key] = append(rows[key], row)
		}
	}
	return rows
}

func countRows(rows map[string][]string) (n int) {
	for _, list := range rows {
		n += len(list)
	}
	return n
}

func (s *scaledCluster) compare(what string, got, want map[string][]string) {
	s.t.Helper()
	if len(got) != len(want) {
		s.t.Errorf("%s of %d keys, want %d", what, len(got), len(want))
	}
	for key, rows := range want {
		for i := range max(len(rows), len(got[key])) {
			if i >= len(rows) || i >= len(got[key]) || rows[i] != got[key][i] {
				s.t.Errorf("%s of key %s: %d, want %d; from %d on\n%q, want\n%q", what, key, len(got[key]), len(rows), i, got[key][min(i, len(got[key])):], rows[min(i, len(rows)):])
				break
			}
		}
	}
}
