package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const (
	rowsPerMessage = 100
	rowsSubject    = "events.Rows"
	barriersLimit  = 30 * time.Minute
	// changed is the part of the state that changes before an incremental checkpoint.
	changed = 0.05
	small   = 50 // checkpoints per measurement of pause and latency
)

// covered is a state whose checkpoints are measured. Its app emits no results.
type covered struct {
	what string
	app  string
	rows int  // number of rows in the state
	keys bool // true: k is the number of the row; false: random bytes make the row long
}

var coveredStates = []covered{
	{"window of 64 MiB", "define stream Rows (k long, text string, v double); from Rows#length(900000) select k, text, v having k < 0 insert into Out;", 900_000, false},
	{"window of 512 MiB", "define stream Rows (k long, text string, v double); from Rows#length(7200000) select k, text, v having k < 0 insert into Out;", 7_200_000, false},
	{"1,000,000 groups", "define stream Rows (k long, v double); from Rows select k, sum(v) as s, count() as n group by k having n < 0 insert into Out;", 1_000_000, true},
}

// messages returns the rows as messages; with keys, each key once.
func (c *covered) messages() [][]byte {
	n := 2000
	if c.keys {
		n = c.rows / rowsPerMessage
	}
	all := make([][]byte, n)
	random := make([]byte, 24)
	for i := range all {
		var m []byte
		for j := range rowsPerMessage {
			k := i*rowsPerMessage + j
			if c.keys {
				m = fmt.Appendf(m, "{\"k\":%d,\"v\":%d.25}\n", k, k%1000)
				continue
			}
			_, _ = rand.Read(random) // never fails
			m = fmt.Appendf(m, "{\"k\":%d,\"text\":\"%s\",\"v\":%d.25}\n", k, hex.EncodeToString(random), k%1000)
		}
		all[i] = m
	}
	return all
}

// runBarriers measures checkpoints of a running app.
func runBarriers(ctx context.Context, b *bench) ([]table, error) {
	ctx, cancel := context.WithTimeout(ctx, barriersLimit)
	defer cancel()
	var speed, pauses, space []row
	for i := range coveredStates {
		c := &coveredStates[i]
		o, err := b.cover(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.what, err)
		}
		b.say("%-18s %s", c.what, o)
		speed = append(speed,
			row{what: c.what + ": full", value: given(megabytes, o.full), goal: 100, bound: "a single component: one core encodes, looks up and sorts its entries (about 17 bytes each for groups); all cores hash and compress.", extra: fmt.Sprintf("%.0f MiB of entries, %.0f MiB stored", o.stateMiB, o.fullMiB)},
			row{what: c.what + ": incremental, of the state covered", value: given(megabytes, o.incremental), goal: 200},
			row{what: "limit: as many bytes as the full one has entries, written and synced", value: given(megabytes, o.disk)},
		)
		pauses = append(pauses, row{what: fmt.Sprintf("%s: p99 of %d barriers under load", c.what, small), value: given(duration, o.pause), goal: 5e-3, lower: true, bound: "groups are only frozen; a window copies what changed since its last copy, and spends a tenth of the task's time on such copies before the barrier."})
		space = append(space, row{what: c.what, value: given(tenths, o.space), goal: 8, lower: true, bound: "every twentieth group is in another block of entries, but each changed entry is written alone."})
	}
	latencies, err := b.smallCheckpoints(ctx)
	if err != nil {
		return nil, err
	}
	with, without, err := b.checkpointedRates(ctx)
	if err != nil {
		return nil, err
	}
	return []table{
		{
			title: "Checkpoints of a running app",
			about: "`eventflux run` with a file store, profile durable: from `checkpoint trigger` to the commit. MB/s count\n" +
				"the uncompressed entries. The incremental checkpoint is made after a twentieth of the rows or groups has\n" +
				"changed.",
			unit: "MB/s", rows: speed,
		},
		{title: "Pause of a task at a barrier", about: "Under load.", unit: "time", rows: pauses},
		{title: "Space of an incremental checkpoint", about: "In % of the full one, after a twentieth of the state has changed.", unit: "%", rows: space},
		{title: "From trigger to commit", about: "Checkpoints of a state of 1,000 rows, one after the other.", unit: "time", rows: []row{
			{what: "median", value: given(duration, latencies[len(latencies)/2]), goal: 50e-3, lower: true},
			{what: "p99", value: given(duration, percentile(latencies, 99))},
		}},
		{title: "Throughput with checkpoints", about: "100 events per message into a window of 100,000 rows.", unit: "events/s", rows: []row{
			{what: "a checkpoint every second", value: medianOf(rate, with...), goal: 0.9 * medianOf(rate, without...).median, bound: "the cores, which the checkpoint shares."},
			{what: "peer: none", value: medianOf(rate, without...)},
		}},
	}, nil
}

// coverage holds the measurements of a state.
type coverage struct {
	full, incremental, disk float64 // MB/s
	stateMiB, fullMiB       float64
	pause                   float64 // s
	space                   float64 // %
}

func (o coverage) String() string {
	return fmt.Sprintf("full %.0f MB/s, incremental %.0f MB/s, disk %.0f MB/s, pause p99 %s, space %.1f %%", o.full, o.incremental, o.disk, duration(o.pause), o.space)
}

// feeder publishes rows to an app.
type feeder struct {
	*deployment
	nc       *nats.Conn
	control  control.Client
	messages [][]byte
	publish  publishFunc
}

func (b *bench) feed(ctx context.Context, c *covered, interval time.Duration) (*feeder, error) {
	d, err := b.deployWith(ctx, c.app, func(cfg *config.Config) {
		cfg.Checkpoint.Interval, cfg.Checkpoint.Timeout = interval, 5*time.Minute
	})
	if err != nil {
		return nil, err
	}
	f := &feeder{deployment: d, messages: c.messages()}
	if f.nc, err = d.connect(ctx, "publisher"); err != nil {
		return nil, errors.Join(err, d.close())
	}
	f.control.Conn = f.nc
	p, err := newPublisher(f.nc, natsconn.WALStream(appName, 0))
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	f.publish = p.publish
	return f, nil
}

func (f *feeder) rows(ctx context.Context, n int) error {
	if err := f.publish(ctx, rowsSubject, f.messages, n/rowsPerMessage, 256); err != nil {
		return err
	}
	f.messages = append(f.messages[n/rowsPerMessage%len(f.messages):], f.messages[:n/rowsPerMessage%len(f.messages)]...)
	return nil
}

// caughtUp waits until the task has applied the whole log.
func (f *feeder) caughtUp(ctx context.Context, events uint64) error {
	for {
		info, err := f.task(ctx)
		if err != nil {
			return err
		}
		if info.Events >= events {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *feeder) task(ctx context.Context) (info processor.TaskInfo, err error) {
	m, err := f.nc.RequestWithContext(ctx, natsconn.ServiceSubject("processor", "tasks"), nil)
	if err != nil {
		return info, err
	}
	var list struct{ Tasks []processor.TaskInfo }
	if err := json.Unmarshal(m.Data, &list); err != nil {
		return info, err
	}
	if len(list.Tasks) == 0 {
		return info, errors.New("no task runs")
	}
	return list.Tasks[0], nil
}

// checkpoint makes a checkpoint, and returns its listing and how long it took.
func (f *feeder) checkpoint(ctx context.Context) (c control.CheckpointInfo, took time.Duration, err error) {
	start := time.Now()
	o, err := f.control.Trigger(ctx, control.AppRequest{App: appName})
	took = time.Since(start)
	if err == nil && !o.Committed {
		err = fmt.Errorf("checkpoint %d was aborted: %s", o.Epoch, o.Reason)
	}
	if err != nil {
		return c, took, err
	}
	list, err := f.control.Checkpoints(ctx, control.AppRequest{App: appName})
	if err != nil {
		return c, took, err
	}
	for _, c := range list.Checkpoints {
		if c.Epoch == o.Epoch {
			return c, took, nil
		}
	}
	return c, took, fmt.Errorf("checkpoint %d is not listed", o.Epoch)
}

// cover fills a state and measures its checkpoints.
func (b *bench) cover(ctx context.Context, c *covered) (o coverage, err error) {
	f, err := b.feed(ctx, c, time.Hour)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	published := c.rows
	if err := f.rows(ctx, c.rows); err != nil {
		return o, err
	}
	if err := f.caughtUp(ctx, uint64(published)); err != nil {
		return o, err
	}
	full, took, err := f.checkpoint(ctx)
	if err != nil {
		return o, err
	}
	o.full = float64(full.StateBytes) / took.Seconds() / 1e6
	o.stateMiB, o.fullMiB = float64(full.StateBytes)/(1<<20), float64(full.Bytes)/(1<<20)
	if o.disk, err = b.writeAndSync(full.StateBytes); err != nil {
		return o, err
	}
	part := int(float64(c.rows) * changed)
	published += part
	if err := f.rows(ctx, part); err != nil {
		return o, err
	}
	if err := f.caughtUp(ctx, uint64(published)); err != nil {
		return o, err
	}
	delta, took, err := f.checkpoint(ctx)
	if err != nil {
		return o, err
	}
	o.incremental = float64(full.StateBytes) / took.Seconds() / 1e6
	o.space = 100 * float64(delta.Bytes) / float64(full.Bytes)
	o.pause, err = f.pauses(ctx)
	return o, err
}

// pauses makes checkpoints under load, and returns the 99th percentile of the task's pauses.
func (f *feeder) pauses(ctx context.Context) (float64, error) {
	loading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for loading.Err() == nil {
			if err := f.rows(ctx, 10*rowsPerMessage); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	var all []float64
	var failed error
	for range small {
		if _, _, failed = f.checkpoint(ctx); failed != nil {
			break
		}
		info, err := f.task(ctx)
		if failed = err; err != nil {
			break
		}
		all = append(all, info.PauseSeconds)
	}
	stop()
	if err := errors.Join(failed, <-ended); err != nil {
		return 0, err
	}
	return percentile(all, 99), nil
}

// writeAndSync writes n incompressible bytes to a file, syncs them and returns the rate in MB/s.
func (b *bench) writeAndSync(n int64) (float64, error) {
	block := make([]byte, 4<<20)
	_, _ = rand.Read(block) // never fails
	file, err := os.Create(filepath.Join(b.dir, "limit"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	start := time.Now()
	for left := n; left > 0 && err == nil; left -= int64(len(block)) {
		_, err = file.Write(block[:min(left, int64(len(block)))])
	}
	err = errors.Join(err, file.Sync())
	took := time.Since(start)
	return float64(n) / took.Seconds() / 1e6, errors.Join(err, file.Close())
}

// smallCheckpoints returns the times from trigger to commit, in seconds, sorted.
func (b *bench) smallCheckpoints(ctx context.Context) (all []float64, err error) {
	f, err := b.feed(ctx, &covered{app: "define stream Rows (k long, text string, v double); from Rows#length(1000) select k, v having k < 0 insert into Out;"}, time.Hour)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	for range small {
		if err := f.rows(ctx, rowsPerMessage); err != nil {
			return nil, err
		}
		_, took, err := f.checkpoint(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, took.Seconds())
	}
	slices.Sort(all)
	b.say("%d checkpoints of a small state, median %s", small, duration(all[len(all)/2]))
	return all, nil
}

// checkpointedRates alternately measures events/s with a checkpoint every second and without any.
func (b *bench) checkpointedRates(ctx context.Context) (with, without []float64, err error) {
	c := &covered{app: "define stream Rows (k long, text string, v double); from Rows#length(100000) select k, v having k < 0 insert into Out;"}
	for range b.repeat {
		for _, interval := range []time.Duration{time.Second, time.Hour} {
			v, err := b.rateWith(ctx, c, interval)
			if err != nil {
				return nil, nil, err
			}
			b.say("checkpoint.interval %s: %s events/s", interval, rate(v))
			if interval == time.Second {
				with = append(with, v)
			} else {
				without = append(without, v)
			}
		}
	}
	return with, without, nil
}

func (b *bench) rateWith(ctx context.Context, c *covered, interval time.Duration) (v float64, err error) {
	const warm, events = 200_000, 4_000_000
	f, err := b.feed(ctx, c, interval)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := errors.Join(f.rows(ctx, warm), f.caughtUp(ctx, warm)); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := errors.Join(f.rows(ctx, events), f.caughtUp(ctx, warm+events)); err != nil {
		return 0, err
	}
	return events / time.Since(start).Seconds(), nil
}
