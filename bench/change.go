package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const (
	changeLimit = 20 * time.Minute
	changes     = 20
	rescales    = 6
	// heardEvery is the time between events that have a result.
	heardEvery = 2 * time.Millisecond
	rows64MiB  = 900_000
	rows512MiB = 7_200_000
)

// runChange measures how long an app has no results while it is upgraded or scaled.
func runChange(ctx context.Context, b *bench) ([]table, error) {
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	upgrades := table{
		title: "Pause of an upgrade",
		about: fmt.Sprintf("`eventflux run` with a window gets an event every %s that has a result. The app is upgraded %d times. The\n"+
			"pause is the longest time between two results, from the request until all of the new version runs.", heardEvery, changes),
		unit: "time",
	}
	for _, c := range []struct {
		what  string
		rows  int
		grows int // rows that each upgrade adds to the window
		goal  float64
	}{
		{"a window of 64 MiB is kept", rows64MiB, 0, 0.1},
		{"a window of 512 MiB is kept", rows512MiB, 0, 0.1},
		{"a window of 64 MiB is adapted to another length", rows64MiB, 1000, 1},
	} {
		pauses, idle, err := b.upgrades(ctx, c.rows, c.grows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.what, err)
		}
		b.say("%s: pause %s, at most %s", c.what, medianOf(duration, pauses...), duration(percentile(pauses, 100)))
		const bound = "the core that the task shares with the other services in this process."
		upgrades.rows = append(upgrades.rows,
			row{what: c.what + ", median", value: medianOf(duration, pauses...), goal: c.goal, lower: true, bound: bound, extra: "without an upgrade " + medianOf(duration, idle...).String()},
			row{what: c.what + ", longest", value: given(duration, percentile(pauses, 100)), goal: c.goal, lower: true, bound: bound})
	}
	pauses, commits, err := b.scalings(ctx)
	if err != nil {
		return nil, fmt.Errorf("scale: %w", err)
	}
	scaled := table{
		title: "Pause of a scaling",
		about: fmt.Sprintf("An app with windows of 200,000 keys, 900,000 rows (64 MiB as rows), is scaled %d times, from 2 to 3\n"+
			"partitions and back. The pause is from the last result before it to the first one after it.", rescales),
		unit: "time",
		rows: []row{
			{what: "pause, median", value: medianOf(duration, pauses...)},
			{what: "pause, longest", value: given(duration, percentile(pauses, 100))},
			{what: "from the request to the commit, median", value: medianOf(duration, commits...)},
		},
	}
	return []table{upgrades, scaled}, nil
}

// upgrades returns the pause of each upgrade, and the longest time between two results in equal
// spans without one.
func (b *bench) upgrades(ctx context.Context, rows, grows int) (pauses, idle []float64, err error) {
	version := func(n int) string {
		return fmt.Sprintf("define stream Rows (k long, text string, v double); @info(name='window') from Rows#window.length(%d) select k, text, v having k < -1 insert into Out; "+
			"@info(name='heard') from Rows[k == -1 and v < %d] select k insert into Heard;", rows+n*grows, n+1)
	}
	r, err := b.changing(ctx, version(0), rows)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for n := range changes {
		began := time.Now()
		u, err := r.control.Upgrade(ctx, control.UpgradeRequest{Text: "@app:name('" + appName + "')\n" + version(n+1)})
		if err != nil {
			return nil, nil, err
		}
		if _, err := r.await(ctx, func(a *control.App) bool { return a.Version == u.To && len(a.Missing) == 0 }); err != nil {
			return nil, nil, err
		}
		if err := r.next(ctx); err != nil {
			return nil, nil, err
		}
		ended := time.Now()
		pauses = append(pauses, r.longest(began, ended).Seconds())
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(ended.Sub(began)):
		}
		idle = append(idle, r.longest(ended, time.Now()).Seconds())
	}
	return pauses, idle, nil
}

// scalings returns the pause of each scaling, and how long it took until its commit.
func (b *bench) scalings(ctx context.Context) (pauses, commits []float64, err error) {
	r, err := b.changing(ctx, "@app:partitions('2') define stream Rows (k long, text string, v double); partition with (k of Rows) begin "+
		"@info(name='window') from Rows#window.length(5) select k, text, v having k < -1 insert into Out; @info(name='heard') from Rows[k == -1] select k insert into Heard; end;", rows64MiB)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for n := range rescales {
		to := uint32(3 - n%2)
		began := time.Now()
		if _, err := r.control.Scale(ctx, control.ScaleRequest{App: appName, Partitions: to}); err != nil {
			return nil, nil, err
		}
		a, err := r.await(ctx, func(a *control.App) bool { return a.Partitions == to || a.Scaling == nil })
		if err == nil && a.Partitions != to {
			err = errors.New(a.ScalingFailed)
		}
		if err != nil {
			return nil, nil, err
		}
		commits = append(commits, time.Since(began).Seconds())
		if _, err := r.await(ctx, func(a *control.App) bool { return a.Scaling == nil && len(a.Missing) == 0 }); err != nil {
			return nil, nil, err
		}
		if err := r.next(ctx); err != nil {
			return nil, nil, err
		}
		pauses = append(pauses, r.longest(began, time.Now()).Seconds())
		b.say("to %d partitions: commit after %s, pause %s", to, duration(commits[n]), duration(pauses[n]))
	}
	return pauses, commits, nil
}

// changing is an app that gets an event every heardEvery, and whose results are watched.
type changing struct {
	*deployment
	control control.Client
	stop    context.CancelFunc
	fed     sync.WaitGroup

	mu sync.Mutex
	at []time.Time // of the results
}

// changing deploys an app, fills its windows and starts the events.
func (b *bench) changing(ctx context.Context, app string, rows int) (*changing, error) {
	return b.changingWith(ctx, app, rows, func(*config.Config) {})
}

// changingWith is changing with settings.
func (b *bench) changingWith(ctx context.Context, app string, rows int, adapt func(*config.Config)) (_ *changing, err error) {
	d, err := b.deployWith(ctx, app, func(cfg *config.Config) {
		cfg.Checkpoint.Interval, cfg.Ingest.LagMax = time.Hour, time.Hour
		adapt(cfg)
	})
	if err != nil {
		return nil, err
	}
	r := &changing{deployment: d, stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	nc, err := d.connect(ctx, "bench")
	if err != nil {
		return nil, err
	}
	r.control.Conn = nc
	p, err := newPublisher(nc, natsconn.WALStream(appName, 0))
	if err != nil {
		return nil, err
	}
	p.expect = nil // a message is divided among several logs
	if err := p.publish(ctx, rowsSubject, (&covered{}).messages(), rows/rowsPerMessage, 256); err != nil {
		return nil, err
	}
	if _, err := nc.Subscribe("out."+appName+".Heard.*", func(*nats.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.at = append(r.at, time.Now())
	}); err != nil {
		return nil, err
	}
	feeding, stop := context.WithCancel(ctx)
	r.stop = stop
	r.fed.Go(func() {
		tick := time.NewTicker(heardEvery)
		defer tick.Stop()
		for {
			select {
			case <-feeding.Done():
				return
			case <-tick.C:
				_ = nc.Publish(rowsSubject, []byte(`{"k":-1,"text":"","v":0}`)) // refused while the app is scaled
			}
		}
	})
	return r, r.next(ctx)
}

func (r *changing) close() error {
	r.stop()
	r.fed.Wait()
	return r.deployment.close()
}

// await waits until the app is as wanted.
func (r *changing) await(ctx context.Context, done func(a *control.App) bool) (control.App, error) {
	for {
		a, err := r.control.App(ctx, control.AppRequest{App: appName})
		if err != nil || done(&a) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// next waits for another result.
func (r *changing) next(ctx context.Context) error {
	r.mu.Lock()
	before := len(r.at)
	r.mu.Unlock()
	for {
		r.mu.Lock()
		now := len(r.at)
		r.mu.Unlock()
		if now > before {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// longest returns the longest time without a result between two instants.
func (r *changing) longest(from, to time.Time) (gap time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 1; i < len(r.at); i++ {
		if r.at[i].After(from) && r.at[i-1].Before(to) {
			gap = max(gap, r.at[i].Sub(r.at[i-1]))
		}
	}
	return gap
}
