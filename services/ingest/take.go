package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/output"
)

const roomLookEvery = 5 * time.Millisecond

// take appends a result to the logs that lack it. If it can never be an event, it becomes a
// dead letter. take waits while memory is full. It returns only the error of ctx, and then
// it has appended nothing.
func (f *follower) take(ctx context.Context, m *nats.Msg) error {
	in := f.in
	in.arrived = max(in.arrived, f.s.cfg.Now())
	in.letter = messageHeaders{ts: in.arrived}
	at, err := in.letter.readResult(m)
	if err != nil {
		f.refuse(m, err)
		return nil
	}
	if is := m.Header.Get(output.HeaderFormat); is != f.format {
		f.refuse(m, fmt.Errorf("result %s is %s, and the source reads %s: a later version of app %s writes another format", at, formatName(is), formatName(f.format), f.link.results.app))
		return nil
	}
	return f.hand(ctx, m, at)
}

// formatName describes the format of a result.
func formatName(contentType string) string {
	if contentType == "" {
		return "JSON"
	}
	return contentType
}

// hand appends the rows of the message with that position.
func (f *follower) hand(ctx context.Context, m *nats.Msg, at result.Position) error {
	in, r := f.in, f.route
	refused := in.decode(m, r)
	if _, p := in.spread(r); p != nil {
		f.refuse(m, errors.New(p.text))
		return nil
	}
	f.dropKnown(at)
	if err := in.opened(ctx); err != nil {
		return err
	}
	if err := in.room(ctx); err != nil {
		return err
	}
	if refused {
		in.bury(m, r)
	}
	for i := range in.sends {
		f.newest[in.sends[i].log.part] = at
	}
	f.commit()
	return nil
}

// refuse makes a dead letter of the whole message.
func (f *follower) refuse(m *nats.Msg, err error) {
	f.s.counters.refusedFor(badHeader)
	f.in.refuseAll(f.route, &problem{badHeader, err.Error()})
	f.in.buryAll(m, f.route, err)
}

// dropKnown drops the appends to logs that have this result, or a later one, because those
// logs have all results before it.
func (f *follower) dropKnown(at result.Position) {
	in := f.in
	kept := in.sends[:0]
	for _, one := range in.sends {
		if at.After(f.newest[one.log.part]) {
			kept = append(kept, one)
		} else {
			in.cost -= int64(one.msg.Bytes())
		}
	}
	if len(kept) < len(in.sends) {
		f.repeated.Add(1)
	}
	in.sends = kept
}

// room waits until the disk has room and the planned appends may wait to be durable. It leaves
// half of the memory to publishers: they get an error if there is none, while results just
// wait in their stream.
func (in *intake) room(ctx context.Context) error {
	admit := func() bool { return in.s.cfg.Room() == nil && in.s.reserve(in.cost, in.s.cfg.MemoryMax/2) }
	if admit() {
		return nil
	}
	ticker := time.NewTicker(roomLookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if admit() {
			return nil
		}
	}
}

// commit makes the appends. The follower's position moves past the result when all of them
// are durable.
func (f *follower) commit() {
	f.taken.Add(1)
	if len(f.in.sends) == 0 {
		return
	}
	l := &f.route.decodings[0]
	l.targets[0].accepted.Add(uint64(l.accepted))
	p := f.progress
	f.in.append(f.s.newAck(answerTo{progress: p, round: p.started()}, f.in.cost, f.in.sends[0].log, len(f.in.sends)))
}
