package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const (
	scalePartitions = 8
	scaleEvents     = 2_000_000
	noMore          = 1.1 // of what one processor costs, as single runs differ
	scaleWindow     = 20  // events of a key in a result
	manyApps        = 100
	manyKeys        = 1_000_000
	idleFor         = 5 * time.Second
)

// scaleApp has partitions to spread, and one result per scaleWindow events of a key.
var scaleApp = fmt.Sprintf("@app:name('%s')\n@app:partitions('%d')\n%spartition with (origin of Flights) begin\n"+
	"from Flights#window.lengthBatch(%d) select origin, avg(delay) as mean, max(distance) as far insert into Out; end;",
	appName, scalePartitions, flightsStream, scaleWindow)

// runScale measures the cost of more processors, apps and keys.
func runScale(ctx context.Context, b *bench) ([]table, error) {
	processors, err := b.scaleProcessors(ctx)
	if err != nil {
		return nil, fmt.Errorf("processors: %w", err)
	}
	apps, err := b.scaleApps(ctx)
	if err != nil {
		return nil, fmt.Errorf("apps: %w", err)
	}
	keys, err := b.scaleKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return []table{processors, apps, keys}, nil
}

func (b *bench) scaleProcessors(ctx context.Context) (table, error) {
	f, err := loadFlights(b.root)
	if err != nil {
		return table{}, err
	}
	messages := f.messages(100)
	want, err := f.batchesOf(messages, scaleEvents/100)
	if err != nil {
		return table{}, err
	}
	t := table{
		title: "Processors",
		about: fmt.Sprintf("An app with %d partitions, 100 events per message, one result per %d events of a key, profile durable.\n"+
			"NATS, ingest, checkpointer and each processor are separate nodes in one process, on the same cores. So\n"+
			"more processors cannot be faster here; they must not cost more. The results of each key are compared,\n"+
			"and are equal.", scalePartitions, scaleWindow),
		unit: "µs of CPU per event",
	}
	const most = 3
	var same map[string]uint64
	costs, rates := make([][]float64, most+1), make([][]float64, most+1)
	for range b.repeat { // in turns, so that what else the machine does meets all alike
		for n := 1; n <= most; n++ {
			o, digests, err := b.scaleOnce(ctx, n, messages, want)
			if err != nil {
				return t, fmt.Errorf("%d: %w", n, err)
			}
			if same == nil {
				same = digests
			}
			if !maps.Equal(same, digests) {
				return t, fmt.Errorf("%d processors give other results than one", n)
			}
			costs[n], rates[n] = append(costs[n], o.cpu*1e6), append(rates[n], o.rate)
			b.say("%-14s %s events/s, %.2f µs of CPU per event", plural(n, "processor"), rate(o.rate), o.cpu*1e6)
		}
	}
	for n := 1; n <= most; n++ {
		r := row{
			what: plural(n, "processor"), value: medianOf(hundredths, costs[n]...), lower: true,
			extra: rate(medianOf(rate, rates[n]...).median) + " events/s, the same results",
		}
		if n > 1 {
			r.goal, r.bound = noMore*t.rows[0].value.median, "the machine, where it does other work as well: single runs of one processor differ by as much."
		}
		t.rows = append(t.rows, r)
	}
	return t, nil
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// hundredths shows a number with two decimals.
func hundredths(v float64) string { return fmt.Sprintf("%.2f", v) }

// batchesOf returns the number of results of the first n messages.
func (f *flights) batchesOf(messages [][]byte, n int) (results int, err error) {
	counts := map[string]int{}
	for i := range n {
		for line := range strings.SplitSeq(string(messages[i%len(messages)]), "\n") {
			var e struct{ Origin string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return 0, err
			}
			counts[e.Origin]++
		}
	}
	for _, count := range counts {
		results += count / scaleWindow
	}
	return results, nil
}

// tally counts results as they are stored, and keeps a digest per key.
type tally struct {
	mu      sync.Mutex
	digests map[string]uint64
	rows    int
	want    int
	done    chan struct{}
}

func (t *tally) take(m *nats.Msg) {
	if len(m.Data) == 0 {
		return
	}
	key, _, _ := strings.Cut(string(m.Data), ",")
	hash := fnv.New64a()
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(hash, "%d %s", t.digests[key], m.Data)
	t.digests[key] = hash.Sum64()
	if t.rows++; t.rows == t.want {
		close(t.done)
	}
}

// scaleOnce runs the given number of processors on a fresh server until all results are out.
func (b *bench) scaleOnce(ctx context.Context, processors int, messages [][]byte, want int) (o outcome, digests map[string]uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	s, err := b.openServer()
	if err != nil {
		return o, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	all := &nodes{b: b, url: s.URL(), dir: filepath.Join(s.dir, "..", filepath.Base(s.dir)+"-nodes")}
	defer func() { err = errors.Join(err, all.close()) }()
	if err := all.start(ctx, "", "checkpointer"); err != nil {
		return o, nil, err
	}
	nc, err := s.connect(ctx, false)
	if err != nil {
		return o, nil, err
	}
	ctl := &control.Client{Conn: nc}
	if _, err := ctl.Deploy(ctx, control.DeployRequest{Text: scaleApp}); err != nil {
		return o, nil, err
	}
	for i := range processors {
		if err := all.start(ctx, fmt.Sprint("p", i+1), "processor"); err != nil {
			return o, nil, err
		}
	}
	if err := all.start(ctx, "", "ingest"); err != nil {
		return o, nil, err
	}
	if err := awaitSpread(ctx, ctl, processors); err != nil {
		return o, nil, err
	}
	t := &tally{digests: map[string]uint64{}, want: want, done: make(chan struct{})}
	sub, err := nc.Subscribe("out."+appName+".Out.>", t.take)
	if err != nil {
		return o, nil, err
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush()); err != nil {
		return o, nil, err
	}
	to, err := s.connect(ctx, false)
	if err != nil {
		return o, nil, err
	}
	pub, err := newPublisher(to, "")
	if err != nil {
		return o, nil, err
	}
	pub.expect = []byte(`{"stream":"EFW_` + appName + "_")
	runtime.GC() // garbage of the start is not the run's
	before, start := cpuTime(), time.Now()
	// With one publisher and one ingest, the messages determine the order within a key.
	if err := pub.publish(ctx, subject, messages, scaleEvents/100, 256); err != nil {
		return o, nil, err
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return o, nil, fmt.Errorf("%d of %d results: %w", t.rows, want, ctx.Err())
	}
	used, took := (cpuTime() - before).Seconds(), time.Since(start).Seconds()
	return outcome{rate: scaleEvents / took, cpu: used / scaleEvents}, t.digests, nil
}

// awaitSpread waits until each processor runs its share.
func awaitSpread(ctx context.Context, ctl *control.Client, processors int) error {
	for ; ; <-time.After(20 * time.Millisecond) {
		a, err := ctl.App(ctx, control.AppRequest{App: appName})
		if err != nil {
			return err
		}
		by, running := map[string]int{}, 0
		for _, o := range a.Owners {
			if o.State == "running" {
				by[o.Processor]++
				running++
			}
		}
		if running == scalePartitions && len(by) == processors {
			return nil
		}
	}
}

// nodes run some of the services each, as eventflux serve does.
type nodes struct {
	b     *bench
	url   string
	dir   string
	stops []func() error
}

func (n *nodes) start(ctx context.Context, id string, services ...string) error {
	cfg := config.Default()
	cfg.Data, cfg.NATS.URL = filepath.Join(n.dir, fmt.Sprint(len(n.stops))), n.url
	cfg.Store.URL = "file:" + filepath.Join(n.dir, "store")
	cfg.WAL.Durability = config.Fast // what the server does was set when it was made
	cfg.Processor.ID = id
	one, err := node.Open(ctx, cfg, services, nil, "1.0.0-bench", n.b.log())
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- one.Run(running, func([]*siddhiql.Plan) { close(ready) }) }()
	n.stops = append(n.stops, func() error {
		cancel()
		return errors.Join(<-ended, one.Close())
	})
	select {
	case <-ready:
		return nil
	case err := <-ended:
		ended <- nil
		return fmt.Errorf("%s ended before it was ready: %w", strings.Join(services, ","), err)
	}
}

// close stops them in reverse order.
func (n *nodes) close() error {
	var all []error
	for i := len(n.stops) - 1; i >= 0; i-- {
		all = append(all, n.stops[i]())
	}
	return errors.Join(append(all, os.RemoveAll(n.dir))...)
}

// heapBytes returns the size of the live heap.
func heapBytes() float64 {
	runtime.GC()
	runtime.GC() // what the first one left to finalizers and pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// scaleApps runs many small apps in one process.
func (b *bench) scaleApps(ctx context.Context) (t table, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(b.dir, "node-*")
	if err != nil {
		return t, err
	}
	var texts []string
	for i := range manyApps {
		texts = append(texts, fmt.Sprintf("@app:name('small%d') define stream S%d (k string, v int);\n"+
			"from S%d#window.length(100) select k, sum(v) as total insert into Out;", i, i, i))
	}
	before, begun := heapBytes(), runtime.NumGoroutine()
	cfg := config.Default()
	cfg.Data, cfg.Listen = dir, "127.0.0.1:0"
	start := time.Now()
	n, err := node.Open(ctx, cfg, node.Services, texts, "1.0.0-bench", b.log())
	if err != nil {
		return t, errors.Join(err, os.RemoveAll(dir))
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.Run(running, func([]*siddhiql.Plan) { close(ready) }) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended, n.Close(), os.RemoveAll(dir))
	}()
	select {
	case <-ready:
	case failed := <-ended:
		ended <- nil
		return t, fmt.Errorf("ended before all was ready: %w", failed)
	}
	deploy := time.Since(start)
	nc, err := natsconn.Connect(ctx, natsconn.ConnectConfig{URL: n.URL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return t, err
	}
	defer nc.Close()
	start = time.Now()
	if err := eachAnswers(ctx, nc); err != nil {
		return t, err
	}
	answered := time.Since(start)
	heap, goroutines := heapBytes()-before, runtime.NumGoroutine()-begun
	used := cpuTime()
	<-time.After(idleFor)
	idle := (cpuTime() - used).Seconds() / idleFor.Seconds()
	b.say("%d apps: deployed in %s, %s each, %.2f cores busy while nothing comes", manyApps, deploy, kibibytes(heap/manyApps), idle)
	return table{
		title: fmt.Sprintf("%d apps in one process", manyApps),
		about: "Small apps under `eventflux run`, each with its own stream, window of 100 events and logs. Each gets an\n" +
			"event and gives a result. Memory is the heap after a garbage collection, including the NATS server.",
		unit: "", rows: []row{
			{what: "from start to ready, all apps new", value: given(duration, deploy.Seconds())},
			{what: "an event to each, and its result", value: given(duration, answered.Seconds())},
			{what: "heap per app", value: given(kibibytes, heap/manyApps), extra: fmt.Sprintf("%d goroutines per app", goroutines/manyApps)},
			{what: "cores busy while nothing comes", value: given(hundredths, idle), extra: "a checkpoint of each every 10 s, where something changed or not"},
		},
	}, nil
}

func kibibytes(v float64) string { return fmt.Sprintf("%.0f KiB", v/1024) }

// eachAnswers publishes an event to each app and waits for its result.
func eachAnswers(ctx context.Context, nc *nats.Conn) error {
	sub, err := nc.SubscribeSync("out.*.Out.>")
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for i := range manyApps {
		if _, err := nc.RequestWithContext(ctx, natsconn.InputSubject(fmt.Sprint("S", i)), []byte(`{"k":"a","v":1}`)); err != nil {
			return fmt.Errorf("event of app %d: %w", i, err)
		}
	}
	from := map[string]bool{}
	for len(from) < manyApps {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("results of %d apps: %w", len(from), err)
		}
		from[strings.Split(m.Subject, ".")[1]] = true
	}
	return nil
}

// scaleKeys measures partitions of an app with many keys.
func (b *bench) scaleKeys(ctx context.Context) (table, error) {
	t := table{
		title: fmt.Sprintf("%s partition keys in one app", wholeBytes(manyKeys)),
		about: "Each key has one event and its own instance of the queries: `partition with (k of Rows)`. Memory is the\n" +
			"heap after a garbage collection; the time is from `checkpoint trigger` to the commit, for all keys.",
		unit: "bytes of heap per key",
	}
	for _, c := range []covered{
		{what: "sum and count", app: partitioned("from Rows select k, sum(v) as s, count() as n having n < 0 insert into Out;")},
		{what: "`length(10)`, sum", app: partitioned("from Rows#window.length(10) select k, sum(v) as s having s < 0 insert into Out;")},
	} {
		c.rows, c.keys = manyKeys, true
		r, err := b.keys(ctx, &c)
		if err != nil {
			return t, fmt.Errorf("%s: %w", c.what, err)
		}
		t.rows = append(t.rows, r)
	}
	return t, nil
}

func partitioned(query string) string {
	return "define stream Rows (k long, v double); partition with (k of Rows) begin " + query + " end;"
}

func (b *bench) keys(ctx context.Context, c *covered) (r row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*runTimeout)
	defer cancel()
	f, err := b.feed(ctx, c, time.Hour)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	before := heapBytes()
	start := time.Now()
	if err := errors.Join(f.rows(ctx, c.rows), f.caughtUp(ctx, uint64(c.rows))); err != nil {
		return r, err
	}
	fill := time.Since(start)
	each := (heapBytes() - before) / float64(c.rows)
	info, took, err := f.checkpoint(ctx)
	if err != nil {
		return r, err
	}
	after := (heapBytes() - before) / float64(c.rows)
	var report control.VerifyReport
	if err := f.control.Do(ctx, control.VerbVerify, control.CheckpointRequest{App: appName}, &report); err != nil {
		return r, err
	}
	if !report.Sound {
		return r, fmt.Errorf("the checkpoint is damaged: %+v", report.Problems)
	}
	b.say("%s: %.0f bytes per key, checkpoint in %s", c.what, each, took)
	return row{
		what: c.what, value: given(wholeBytes, each),
		extra: fmt.Sprintf("%s once a checkpoint was made; %s new keys/s; checkpoint in %s, %.0f MiB of entries, %.0f MiB stored, sound",
			wholeBytes(after), rate(float64(c.rows)/fill.Seconds()), duration(took.Seconds()), float64(info.StateBytes)/(1<<20), float64(info.Bytes)/(1<<20)),
	}, nil
}
