package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const (
	shadowRows  = 1_000_000
	shadowLimit = 10 * time.Minute
	shadowTimes = 5
)

// runShadow measures how fast a shadow catches up, and what the app notices of it.
func runShadow(ctx context.Context, b *bench) ([]table, error) {
	ctx, cancel := context.WithTimeout(ctx, shadowLimit)
	defer cancel()
	rates := table{
		title: "Shadow of a next version",
		about: fmt.Sprintf("The log has %d events in frames of %d and more. A shadow whose filter is another one applies it in both\n"+
			"versions from a checkpoint at its start, compares the results, and finds exactly the rows that differ\n"+
			"(`recovery.shadow_rate: 0`). The peer is the replay of the same log in one version, for `eventflux state get`.", shadowRows, rowsPerMessage),
		unit: "events/s",
	}
	gaps := table{
		title: "An app beside its shadow",
		about: fmt.Sprintf("The app gets an event every %s that has a result, while a shadow catches up with %d events at the\n"+
			"default `recovery.shadow_rate`. All services are in one process.", heardEvery, shadowRows),
		unit: "time",
	}
	fast, replay, _, _, err := b.shadows(ctx, 0)
	if err != nil {
		return nil, err
	}
	_, _, beside, alone, err := b.shadows(ctx, config.Default().Recovery.ShadowRate)
	if err != nil {
		return nil, err
	}
	rates.rows = []row{
		{what: "shadow, both versions and the comparison", value: medianOf(rate, fast...)},
		{what: "peer: plain replay, one version", value: medianOf(rate, replay...)},
	}
	gaps.rows = []row{
		{what: "longest time between two results while a shadow catches up, median", value: medianOf(duration, beside...), extra: "without a shadow " + medianOf(duration, alone...).String()},
	}
	return []table{rates, gaps}, nil
}

// shadows starts a shadow again and again, with a bound of the events per second; 0 is none. It returns
// the events per second of each and of plain replays, and the longest time between two results of the
// app during each and in spans as long without one.
func (b *bench) shadows(ctx context.Context, bound int) (fast, replay, beside, alone []float64, err error) {
	version := func(above int) string {
		return fmt.Sprintf("define stream Rows (k long, text string, v double); @info(name='sums') from Rows[v > %d]#window.length(100) select k, sum(v) as total insert into Sums; "+
			"@info(name='heard') from Rows[k == -1] select k insert into Heard;", above)
	}
	r, err := b.changingWith(ctx, version(990), 0, func(cfg *config.Config) { cfg.Recovery.ShadowRate = bound })
	if err != nil {
		return nil, nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if o, err := r.control.Trigger(ctx, control.AppRequest{App: appName}); err != nil || !o.Committed {
		return nil, nil, nil, nil, errors.Join(err, errors.New(o.Reason))
	}
	p, err := newPublisher(r.control.Conn, natsconn.WALStream(appName, 0))
	if err == nil {
		err = p.publish(ctx, rowsSubject, (&covered{}).messages(), shadowRows/rowsPerMessage, 256)
	}
	if err == nil {
		err = p.await(ctx, p.sent)
	}
	if err == nil {
		err = r.next(ctx)
	}
	if err != nil {
		return nil, nil, nil, nil, err
	}
	for range shadowTimes {
		began := time.Now()
		report, err := r.shadow(ctx, "@app:name('"+appName+"')\n"+version(991))
		if err != nil {
			return nil, nil, nil, nil, err
		}
		ended := time.Now()
		span := ended.Sub(began)
		fast = append(fast, float64(report.Events)/span.Seconds())
		beside = append(beside, r.longest(began, ended).Seconds())
		began = time.Now()
		ask := control.Client{Conn: r.control.Conn, Service: recovery.ServiceName, Attempt: shadowLimit}
		var state recovery.State
		if err := ask.Do(ctx, recovery.VerbState, recovery.StateRequest{App: appName, Component: "sums/aggregate"}, &state); err != nil {
			return nil, nil, nil, nil, err
		}
		replay = append(replay, float64(report.Events)/time.Since(began).Seconds())
		began = time.Now()
		select {
		case <-ctx.Done():
			return nil, nil, nil, nil, ctx.Err()
		case <-time.After(span):
		}
		alone = append(alone, r.longest(began, time.Now()).Seconds())
	}
	return fast, replay, beside, alone, nil
}

// shadow starts a shadow, waits until it has caught up, checks what it found and ends it.
func (r *changing) shadow(ctx context.Context, text string) (*control.ShadowReport, error) {
	started, err := r.control.StartShadow(ctx, control.ShadowRequest{Text: text})
	if err != nil {
		return nil, err
	}
	patient := control.Client{Conn: r.control.Conn, Attempt: shadowLimit}
	report, err := patient.ShadowReport(ctx, appName, control.ShadowReportRequest{ID: started.Shadow.ID, CaughtUp: true})
	if err != nil {
		return nil, err
	}
	if _, err := r.control.StopShadow(ctx, control.AppRequest{App: appName}); err != nil {
		return nil, err
	}
	for i := range report.Streams {
		if s := &report.Streams[i]; s.Name == "Sums" && s.OnlyOld != shadowRows/1000 {
			return nil, fmt.Errorf("the shadow found %d rows that only the old version gives, of %d; %v", s.OnlyOld, shadowRows/1000, shadow.Text(report.Kinds()[s.Name]))
		}
	}
	return &report, nil
}
