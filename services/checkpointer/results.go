package checkpointer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// trimResults drops the results that an app does not keep (@sink(max.age=…, max.bytes=…,
// max.msgs.per.subject=…)). It
// never trims past the newest record of positions: a task that starts reads there what was
// published. So trimming does not change what a task does after a start.
func (rt *retention) trimResults(ctx context.Context, app string) error {
	a := rt.cfg.FSM.app(app)
	if a == nil || !strings.Contains(a.Text, "max.") {
		return nil
	}
	plan, err := siddhiql.CompileDeployed(a.Text)
	if err != nil {
		return nil // ingest reports why it cannot read the text
	}
	for p := range a.Partitions {
		if plan.Bounds != (siddhiql.Bounds{}) {
			if err := rt.trimOutput(ctx, plan, p); err != nil {
				return fmt.Errorf("trim %s: %w", natsconn.OutStream(app, p), err)
			}
		}
		if err := rt.compact(ctx, plan, p); err != nil {
			return fmt.Errorf("keep the newest results on each subject of %s: %w", natsconn.OutStream(app, p), err)
		}
	}
	return nil
}

func (rt *retention) trimOutput(ctx context.Context, plan *siddhiql.Plan, partition uint32) error {
	stream, err := rt.js.Stream(ctx, natsconn.OutStream(plan.Name, partition))
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	first := state.FirstSeq
	if age := plan.Bounds.MaxAge; age > 0 && state.FirstTime.Before(rt.cfg.Now().Add(-time.Duration(age)*time.Millisecond)) {
		since, err := sequenceAt(ctx, rt.js, stream, rt.cfg.Now().Add(-time.Duration(age)*time.Millisecond))
		if err != nil {
			return err
		}
		first = max(first, since)
	}
	if most := uint64(plan.Bounds.MaxBytes); most > 0 && state.Bytes > most {
		surplus := float64(state.Bytes-most) / float64(state.Bytes)
		first = max(first, state.FirstSeq+uint64(surplus*float64(state.Msgs)))
	}
	if first <= state.FirstSeq {
		return nil
	}
	kept, err := rt.keptFrom(ctx, plan, partition)
	if err != nil {
		return err
	}
	if first = min(first, kept); first <= state.FirstSeq {
		return nil
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(first))
}

// keptFrom returns the first sequence of an output stream that has to stay, by the newest record of
// positions; 0 if there is none.
func (rt *retention) keptFrom(ctx context.Context, plan *siddhiql.Plan, partition uint32) (uint64, error) {
	fence, at, err := output.Of(plan, partition).Fence(ctx, rt.cfg.Conn)
	if err != nil || at == 0 {
		return 0, err
	}
	record, ok, err := fence.Record()
	if err != nil || !ok {
		return 0, err
	}
	return min(at, record.Through+1), nil
}

// sequenceAt returns the sequence of the first message that was stored at that time or later,
// or the sequence after the end.
func sequenceAt(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, at time.Time) (uint64, error) {
	finder, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return 0, fmt.Errorf("find the messages since %s: %w", at.Format(time.RFC3339), err)
	}
	info := finder.CachedInfo()
	_ = js.DeleteConsumer(ctx, info.Stream, info.Name) // the server also deletes it when it is idle
	return info.Delivered.Stream + 1, nil
}
