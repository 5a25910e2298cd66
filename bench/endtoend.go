package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	subject    = "events.Flights"
	runTimeout = 2 * time.Minute
	warmUp     = 20_000 // events before the measurement starts
)

const (
	everyThousand = "from Flights#lengthBatch(1000) select count() as n, avg(delay) as mean insert into Out;"
	everyEvent    = "from Flights#window.length(100) select origin, delay, avg(delay) as mean insert into Out;"
	packedSink    = "@sink(stream='Out', pack='ndjson')\n"
)

// flow is one configuration of the end-to-end measurement.
type flow struct {
	name       string
	what       string
	queries    string
	perMessage int // events
	perRow     int // events
	packed     bool
	events     int  // multiple of perMessage and perRow, as is warmUp
	window     int  // messages in flight
	jetStream  bool // published with the JetStream client of nats.go
	goal       float64
	bound      string
	stored     bool // its limit is the rate of storing results, which is measured after it
}

var flows = []flow{
	{
		name: "in1-out1000", what: "an event per message, a result per 1,000", queries: everyThousand,
		perMessage: 1, perRow: 1000, events: 1_000_000, window: 8192, goal: 300e3,
		bound: "the cores: NATS client and server take most of them, to parse and pass on each message and its answer.",
	},
	{
		name: "in1-jetstream", what: "the same, published by `PublishAsync` of nats.go", queries: everyThousand,
		perMessage: 1, perRow: 1000, events: 500_000, window: 8192, jetStream: true,
	},
	{
		name: "in100-out1000", what: "100 events per message, a result per 1,000", queries: everyThousand,
		perMessage: 100, perRow: 1000, events: 6_000_000, window: 1024, goal: 1.5e6,
		bound: "the cores: a quarter of them goes into JSON, a quarter into the server and its client, the rest into log and engine.",
	},
	{
		name: "in100-out1", what: "100 events per message, a result per event, each a message", queries: everyEvent,
		perMessage: 100, perRow: 1, events: 400_000, window: 1024, goal: 80e3,
		bound:  "the server: one goroutine per JetStream stream stages, checks and stores each message of an atomic batch.",
		stored: true,
	},
	{
		name: "in100-packed", what: "100 events per message, a result per event, packed", queries: packedSink + everyEvent,
		perMessage: 100, perRow: 1, packed: true, events: 3_000_000, window: 1024, goal: 400e3,
	},
}

// runEndToEnd measures from the first publish until the last result is read.
func runEndToEnd(ctx context.Context, b *bench) ([]table, error) {
	f, err := loadFlights(b.root)
	if err != nil {
		return nil, err
	}
	var rows []row
	for i := range flows {
		if b.flow != "" && b.flow != flows[i].name {
			continue
		}
		r, err := b.runFlow(ctx, f, &flows[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flows[i].name, err)
		}
		rows = append(rows, r)
		if flows[i].stored {
			limit, err := b.storedLimit(ctx)
			if err != nil {
				return nil, err
			}
			rows = append(rows, limit)
		}
	}
	if b.flow == "" {
		limits, err := b.limits(ctx, f)
		if err != nil {
			return nil, err
		}
		rows = append(rows, limits...)
	}
	return []table{{
		title: "End to end",
		about: "Publisher, embedded server, ingest, processor and a reader of the results in one process, wired as\n" +
			"`eventflux run` does, profile durable. Publisher and reader have their own TCP connections. Every\n" +
			"message is acknowledged; the time runs from the first publish until a JetStream consumer has read the\n" +
			"last result from the output stream.",
		unit: "events/s", rows: rows,
	}}, nil
}

func (b *bench) runFlow(ctx context.Context, f *flights, c *flow) (row, error) {
	messages := f.messages(c.perMessage)
	var rates, busy, each []float64
	for i := range b.repeat {
		run, err := b.runFlowOnce(ctx, c, messages, i == 0)
		if err != nil {
			return row{}, err
		}
		rates, busy, each = append(rates, run.rate), append(busy, run.cores), append(each, run.cpu)
		b.say("%-14s %s events/s, acknowledged at %s, %.2f cores busy, %.2f µs of CPU per event", c.name, rate(run.rate), rate(run.acked), run.cores, run.cpu*1e6)
	}
	return row{
		what: c.what, value: medianOf(rate, rates...), goal: c.goal, bound: c.bound,
		extra: fmt.Sprintf("%.1f cores busy, %.2f µs of CPU per event", medianOf(rate, busy...).median, medianOf(rate, each...).median*1e6),
	}, nil
}

// outcome of one run, in events/s.
type outcome struct {
	rate  float64 // until the last result was read
	acked float64 // until the last event was acknowledged
	cores float64 // that were busy
	cpu   float64 // seconds of CPU per event, publisher and reader among them
}

func (b *bench) runFlowOnce(ctx context.Context, c *flow, messages [][]byte, profile bool) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	d, err := b.deploy(ctx, c.queries)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	to, err := d.connect(ctx, "publisher")
	if err != nil {
		return o, err
	}
	from, err := d.connect(ctx, "subscriber")
	if err != nil {
		return o, err
	}
	publish, err := c.publisher(to)
	if err != nil {
		return o, err
	}
	read, err := readResults(ctx, from, "Out", c.packed)
	if err != nil {
		return o, err
	}
	defer read.close()

	pass := func(events int) (acked, done time.Duration, err error) {
		read.expect(uint64(events / c.perRow))
		start := time.Now()
		if err := publish(ctx, subject, messages, events/c.perMessage, c.window); err != nil {
			return 0, 0, err
		}
		acked = time.Since(start)
		err = read.await(ctx)
		return acked, time.Since(start), err
	}
	if _, _, err := pass(warmUp); err != nil {
		return o, fmt.Errorf("warm up: %w", err)
	}
	runtime.GC() // garbage of the start is not the run's
	if profile && b.profiles != "" {
		stop, err := b.profile(c.name)
		if err != nil {
			return o, err
		}
		defer stop()
	}
	before := cpuTime()
	acked, done, err := pass(c.events)
	if err != nil {
		return o, err
	}
	used := (cpuTime() - before).Seconds()
	return outcome{
		rate:  float64(c.events) / done.Seconds(),
		acked: float64(c.events) / acked.Seconds(),
		cores: used / done.Seconds(),
		cpu:   used / float64(c.events),
	}, nil
}

func (c *flow) publisher(nc *nats.Conn) (publishFunc, error) {
	if c.jetStream {
		return byJetStream(nc, c.window)
	}
	p, err := newPublisher(nc, natsconn.WALStream(appName, 0))
	if err != nil {
		return nil, err
	}
	return p.publish, nil
}

// cpuTime returns what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for wrong arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (b *bench) profile(name string) (stop func(), err error) {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(b.profiles, name+".prof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := file.Close(); err != nil {
			b.say("CPU profile: %v", err)
		}
	}, nil
}
