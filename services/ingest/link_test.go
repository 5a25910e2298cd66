package ingest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	nextApp  = `@app:name('next') @source(subject='out.first.Mid.0') define stream In (n int); from In select n insert into Out;`
	splitApp = `@app:name('next') @app:partitions('2') @source(subject='out.first.Mid.*') define stream In (k string, n int);
		partition with (k of In) begin from In select k, n insert into Out; end;`
)

// result publishes a result of the app `first` as its processor would. headers are added; ""
// removes the standard header of that name.
func (r *rig) result(partition uint32, seq int, payload string, headers ...string) {
	r.t.Helper()
	m := nats.NewMsg(natsconn.OutSubject("first", "Mid", partition))
	m.Data = []byte(payload)
	m.Header = nats.Header{
		"Ef-Position": {fmt.Sprint(seq, ".0")}, "Ef-Generation": {"1"}, "Ef-Kind": {"current"}, "Ef-Timestamp": {fmt.Sprint(seq)},
	}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			m.Header.Del(headers[i])
		}
	}
	if _, err := r.js.PublishMsg(within(r.t), m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) outStream(partition uint32) jetstream.Stream {
	r.t.Helper()
	s, err := natsconn.EnsureOut(within(r.t), r.js, "first", partition, natsconn.StreamLimits{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// acked returns once all results of a partition are known to be in the logs.
func (r *rig) acked(partition uint32) {
	r.t.Helper()
	ctx := within(r.t)
	info := r.outStream(partition).CachedInfo()
	log, err := r.js.Stream(ctx, natsconn.WALStream("next", 0))
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		got, err := r.record()
		if at := got.Positions[partition]; err == nil && got.Log.Equal(log.CachedInfo().Created) && at.Sequence == info.State.LastSeq && at.Created.Equal(info.Created) {
			return
		}
		if ctx.Err() != nil {
			r.t.Fatalf("partition %d: %+v, %v; service: %+v", partition, got, err, r.svc.Info().Streams)
		}
	}
}

// recordKey returns the key of the record of the reading app's source.
func (r *rig) recordKey() string {
	src := r.svc.unit("next").sources[0]
	return natsconn.LinkKey("next", "In", src.stream.Subject)
}

func (r *rig) links() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.js.KeyValue(within(r.t), natsconn.LinksBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

func (r *rig) record() (record, error) {
	entry, err := r.links().Get(within(r.t), r.recordKey())
	if err != nil {
		return record{}, err
	}
	return parseRecord(entry.Value())
}

func (r *rig) consumer(partition uint32, name string) (*jetstream.ConsumerInfo, error) {
	c, err := r.js.Consumer(within(r.t), natsconn.OutStream("first", partition), name)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// resultsAre returns once the first results of the service are in the given state.
func (r *rig) resultsAre(state string) InfoResults {
	r.t.Helper()
	ctx := within(r.t)
	for {
		if all := r.svc.Info().Streams[0].Results; len(all) > 0 && all[0].State == state && all[0].Reason != "starting" {
			return all[0]
		}
		if err := r.pub.FlushWithContext(ctx); err != nil { // a moment
			r.t.Fatalf("%+v: %v", r.svc.Info().Streams, err)
		}
	}
}

func TestResultsOfAnotherApp(t *testing.T) {
	r := start(t, nil, nextApp)
	if info := r.resultsAre("waiting"); info.JetStream != "EFO_first_0" || !strings.Contains(info.Reason, "there is no JetStream stream") {
		t.Errorf("before the other app is deployed: %+v", info)
	}
	r.outStream(0)
	r.result(0, 3, `{"n":1}`, "traceparent", "00-ab-cd-01")
	r.result(0, 4, "{\"n\":2}\n{\"n\":3}\n", "Ef-Kind", "expired")
	r.result(0, 5, "{\"n\":4}\n{\"m\":5}\n")
	r.result(0, 6, `{}`)
	r.result(0, 7, `{"n":6}`, "Ef-Position", "")
	r.result(0, 8, `{"n":7}`, "Ef-Timestamp", "never")
	r.result(0, 9, `{"n":8}`, "Ef-Generation", "2", "Ef-Position", "1.12", "Ef-Chunk", "?", "Nats-Msg-Id", "own")
	r.acked(0)
	if info := r.resultsAre("reading"); info.Taken != 5 || info.Repeated != 0 {
		t.Errorf("%+v", info)
	}
	// The server deletes the consumer of an app that was removed, and has no file for it.
	if c, err := r.consumer(0, consumerName("next", "In", "out.first.Mid.0")); err != nil || c.Config.InactiveThreshold != consumerIdle || !c.Config.MemoryStorage {
		t.Errorf("%+v, %v", c, err)
	}
	r.end()
	equal(t, "log", r.logged("next", 0), []string{
		`In +0 id=out.first.Mid.0:1:3.0 header="traceparent: 00-ab-cd-01\r\n" [1]@3`,
		`In +0 id=out.first.Mid.0:1:4.0 [2]@4 [3]@4`,
		`In +0 id=out.first.Mid.0:1:5.0 [4]@5`,
		`In +0 id=out.first.Mid.0:2:1.12 [8]@9`,
	})
	var reasons []string
	for _, line := range r.dead("next") {
		_, reason, _ := strings.Cut(line, "Ef-Reason=")
		reasons = append(reasons, line[:strings.Index(line, "Ef-Arrived")]+reason)
	}
	equal(t, "dead letters", reasons, []string{
		`dlq.next.In {"m":5} missing attribute "n": expected int; write null where there is no value Ef-Subject=out.first.Mid.0 Ef-Timestamp=5`,
		`dlq.next.In {} missing attribute "n": expected int; write null where there is no value Ef-Subject=out.first.Mid.0 Ef-Timestamp=6`,
		`dlq.next.In {"n":6} headers Ef-Generation and Ef-Position: "1:" is not the place of a result, such as 1:17.0 Ef-Subject=out.first.Mid.0 Ef-Timestamp=7`,
		`dlq.next.In {"n":7} header Ef-Timestamp: expected ms since 1970 or RFC 3339, such as 2001-01-15T08:30:00Z, found "never" Ef-Subject=out.first.Mid.0 Ef-Timestamp=never`,
	})
}

// Ingest stops and starts at any moment, sometimes days later, and the record of the source is
// lost or damaged. Still each result is in each log once, and the results of a partition are
// in order.
func TestEveryResultOnceWhateverStops(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const partitions, each = 3, 60
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	var now atomic.Int64
	now.Store(arrival)
	change := func(c *Config) { c.Now = now.Load }
	r := start(t, change, splitApp)
	for p := range uint32(partitions) {
		r.outStream(p)
	}
	n := 0
	for range rounds {
		stopAt := random.IntN(each)
		for i := range each {
			n++
			for p := range uint32(partitions) {
				r.result(p, n, fmt.Sprintf(`{"k":"k%d","n":%d}{"k":"k%d","n":%d}`, n%7, n, n%5, n))
			}
			if i == stopAt {
				r.end()
				r.forget(random)
				now.Add(24 * time.Hour.Milliseconds())
				r.begin(change, splitApp)
			}
		}
	}
	for p := range uint32(partitions) {
		r.acked(p)
	}
	r.end()
	for shard := range uint32(2) {
		var want []int
		for i := 1; i <= n; i++ {
			for _, k := range []int{i % 7, i % 5} {
				if shardOf(fmt.Sprintf("k%d", k))%2 == shard {
					want = append(want, i)
				}
			}
		}
		all := r.numbers("next", shard)
		if len(all) != partitions {
			t.Errorf("log %d has results of %d partitions", shard, len(all))
		}
		for subject, got := range all {
			if !slices.Equal(got, want) {
				same := 0
				for same < min(len(got), len(want)) && got[same] == want[same] {
					same++
				}
				t.Errorf("%s in log %d: %d rows, want %d; the first %d are right", subject, shard, len(got), len(want), same)
			}
		}
	}
}

// forget damages the record of how far results were read: it is lost, damaged, old, or belongs
// to another app.
func (r *rig) forget(random *rand.Rand) {
	r.t.Helper()
	put := func(value []byte) {
		if _, err := r.links().Put(within(r.t), r.recordKey(), value); err != nil {
			r.t.Fatal(err)
		}
	}
	was, err := r.links().Get(within(r.t), r.recordKey())
	if err != nil {
		return // ingest ended before its first read
	}
	got, err := parseRecord(was.Value())
	if err != nil {
		return // ingest ended before it wrote over the damage of an earlier round
	}
	switch random.IntN(6) {
	case 0:
		if err := r.links().Delete(within(r.t), r.recordKey()); err != nil {
			r.t.Fatal(err)
		}
	case 1:
		flipped := slices.Clone(was.Value())
		flipped[random.IntN(len(flipped))] ^= 1 << random.IntN(8)
		put(flipped)
	case 2:
		got.Positions = map[uint32]position{}
		r.putRecord(got)
	case 3:
		got.Log = got.Log.Add(time.Second)
		r.putRecord(got)
	case 4: // the stream lost its end, and reused its sequences
		for p, at := range got.Positions {
			at.Place = "1:1000000.0"
			got.Positions[p] = at
		}
		r.putRecord(got)
	}
}

func (r *rig) putRecord(of record) {
	r.t.Helper()
	value, err := of.encode()
	if err == nil {
		_, err = r.links().Put(within(r.t), r.recordKey(), value)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// numbers returns the rows' numbers of a log in order, by the subject they came from.
func (r *rig) numbers(app string, partition uint32) map[string][]int {
	r.t.Helper()
	all := map[string][]int{}
	r.frames(app, partition, func(f *frame.Frame) {
		next := make([]int, len(f.Blocks))
		for _, run := range f.Runs {
			subject, _, _ := strings.Cut(strings.Clone(run.ID), ":") // the decoder's bytes
			cols := f.Blocks[run.Block].Batch.Cols
			for range run.Rows {
				all[subject] = append(all[subject], int(cols[len(cols)-1].Ints[next[run.Block]]))
				next[run.Block]++
			}
		}
	})
	return all
}

// One log accepts a result, and the other is full until the service has given up. After the
// next start, only the other log gets the result.
func TestResultThatOneLogHas(t *testing.T) {
	short := func(c *Config) { c.StopTimeout = 200 * time.Millisecond }
	r := start(t, short, splitApp)
	r.outStream(0)
	if _, err := natsconn.EnsureWAL(within(t), r.js, "next", 1, natsconn.StreamLimits{BytesMax: 1}); err != nil {
		t.Fatal(err)
	}
	keys := map[uint32]string{}
	for i := range 10 {
		k := fmt.Sprintf("k%d", i)
		keys[shardOf(k)%2] = k
	}
	r.result(0, 1, fmt.Sprintf(`{"k":%q,"n":1}{"k":%q,"n":1}`, keys[0], keys[1]))
	for len(r.logged("next", 0)) == 0 && within(t).Err() == nil {
	}
	r.end()
	got, err := r.record()
	if err != nil || got.Positions[0].Sequence != 0 || len(r.logged("next", 1)) != 0 {
		t.Fatalf("before the second start: %+v, %v", got, err)
	}
	r.begin(short, splitApp) // lifts the limit
	r.acked(0)
	for shard := range uint32(2) {
		if got := r.numbers("next", shard)["out.first.Mid.0"]; !slices.Equal(got, []int{1}) {
			t.Errorf("log %d: %v", shard, got)
		}
	}
}

// A log may hold a record that is not a frame, which its task skips after an operator's
// decision. Reading does not wait until it is trimmed.
func TestRecordThatIsNoFrame(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	r.result(0, 1, `{"n":1}`)
	r.acked(0)
	r.end()
	if _, err := r.js.Publish(within(t), natsconn.WALSubject("next", 0), []byte("no frame")); err != nil {
		t.Fatal(err)
	}
	if err := r.links().Delete(within(t), r.recordKey()); err != nil { // reading starts at the first result
		t.Fatal(err)
	}
	r.result(0, 2, `{"n":2}`)
	r.begin(nil, nextApp)
	r.acked(0)
	if info := r.resultsAre("reading"); info.Taken != 2 || info.Repeated != 1 {
		t.Errorf("%+v", info)
	}
}

// A full log delays reading. Memory stays within its bound, and nothing is lost.
func TestResultsWaitWhileTheLogIsFull(t *testing.T) {
	const memory, n = 64 << 10, 4000
	r := start(t, func(c *Config) { c.MemoryMax = memory }, nextApp)
	r.limitLog("next", 8<<10)
	r.outStream(0)
	for i := range n {
		r.result(0, i+1, fmt.Sprintf(`{"n":%d}`, i))
	}
	for ctx := within(t); r.svc.Info().BytesWaiting < memory/2-200; {
		if err := r.pub.FlushWithContext(ctx); err != nil {
			t.Fatalf("%+v: %v", r.svc.Info(), err)
		}
	}
	if waiting := r.svc.Info().BytesWaiting; waiting > memory/2 {
		t.Errorf("%d bytes wait", waiting)
	}
	r.limitLog("next", 0)
	r.acked(0)
	r.end()
	got := r.numbers("next", 0)["out.first.Mid.0"]
	for i := range n {
		if len(got) != n || got[i] != i {
			t.Fatalf("%d rows, row %d is %d", len(got), i, got[min(i, len(got)-1)])
		}
	}
	if info := r.svc.Info(); info.Overload != 0 || info.Dropped != 0 || info.BytesWaiting != 0 {
		t.Errorf("%+v", info)
	}
}

// Lost deliveries are noticed, and reading starts again after the last handled result.
func TestDeliveriesThatAreLost(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	name := consumerName("next", "In", "out.first.Mid.0")
	n := 0
	results := func(count int) {
		for range count {
			n++
			r.result(0, n, fmt.Sprintf(`{"n":%d}`, n))
		}
	}
	results(50)
	r.acked(0)
	other, err := r.js.Consumer(within(t), "EFO_first_0", name)
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := other.Fetch(5)
	if err != nil {
		t.Fatal(err)
	}
	results(50)
	taken := 0
	for range stolen.Messages() {
		taken++
	}
	if taken == 0 {
		t.Error("nothing was taken away: the test tests nothing")
	}
	r.acked(0)
	if err := r.js.DeleteConsumer(within(t), "EFO_first_0", name); err != nil {
		t.Fatal(err)
	}
	results(50)
	r.acked(0)
	r.restart()
	results(50)
	r.acked(0)
	got := r.numbers("next", 0)["out.first.Mid.0"]
	for i := range got {
		if got[i] != i+1 || len(got) != n {
			t.Fatalf("%d rows, %d published: %v", len(got), n, got)
		}
	}
}

// If a stream of results is made again, its sequences start at 1, but the results of its app
// have the same positions as before.
func TestResultsThatAreWrittenAgain(t *testing.T) {
	r := start(t, nil, nextApp)
	for round := range 2 {
		r.outStream(0)
		for i := 1; i <= 5+round; i++ {
			r.result(0, i, fmt.Sprintf(`{"n":%d}`, i))
		}
		r.acked(0)
		if err := r.js.DeleteStream(within(t), "EFO_first_0"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.numbers("next", 0)["out.first.Mid.0"]; !slices.Equal(got, []int{1, 2, 3, 4, 5, 6}) {
		t.Error(got)
	}
	if info := r.svc.Info().Streams[0].Results[0]; info.Repeated != 5 || info.Taken != 11 {
		t.Errorf("%+v", info)
	}
}

func TestPartitionsThatComeLater(t *testing.T) {
	r := start(t, nil, splitApp)
	if info := r.resultsAre("waiting"); info.JetStream != "" || !strings.Contains(info.Reason, "deploy app first") {
		t.Errorf("%+v", info)
	}
	for _, p := range []uint32{2, 0} {
		r.outStream(p)
		r.result(p, 1, `{"k":"a","n":1}`)
		r.acked(p)
	}
	if all := r.svc.Info().Streams[0].Results; len(all) != 2 || all[0].JetStream != "EFO_first_2" || all[1].State != "reading" {
		t.Errorf("%+v", all)
	}
}

func TestPlacesOfResults(t *testing.T) {
	for _, text := range []string{"", "1", "1:2", "1:2.", "1:.3", ":2.3", "0:2.3", "1:0.3", "1:2.3.4", "-1:2.3", "1:2.x", "18446744073709551616:1.1"} {
		if p, err := result.Parse(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
	ordered := []string{"1:1.0", "1:1.1", "1:2.0", "1:10.0", "2:1.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			p, err := result.Parse(a)
			if err != nil || p.String() != a {
				t.Errorf("%s: %v, %v", a, p, err)
			}
			if q, _ := result.Parse(b); p.After(q) != (i > j) {
				t.Errorf("%s after %s: %v", a, b, p.After(q))
			}
		}
	}
}

// A new app with the name of a removed one gets all existing results, including earlier ones.
func TestReaderThatIsDeployedAgain(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	for i := 1; i <= 5; i++ {
		r.result(0, i, fmt.Sprintf(`{"n":%d}`, i))
	}
	r.acked(0)
	r.end()
	for _, name := range natsconn.AppStreams("next", 1) {
		if err := r.js.DeleteStream(within(t), name); err != nil {
			t.Fatal(err)
		}
	}
	r.begin(nil, nextApp)
	r.acked(0)
	if got := r.numbers("next", 0)["out.first.Mid.0"]; !slices.Equal(got, []int{1, 2, 3, 4, 5}) {
		t.Error(got)
	}
}
