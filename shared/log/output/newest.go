package output

import (
	"context"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// Partition names the output stream of a partition, and its result streams.
type Partition struct {
	App    string
	Number uint32
	// Streams are those whose results go to out.<app>.<Stream>.<p>.
	Streams []string
}

// Of returns the output stream of a partition of an app.
func Of(plan *siddhiql.Plan, partition uint32) Partition {
	p := Partition{App: plan.Name, Number: partition}
	for _, s := range plan.Published() {
		if s.Sink.Subject == nil {
			p.Streams = append(p.Streams, s.Name)
		}
	}
	return p
}

// Newest returns the newest result of each result stream, as far as sequence end of the
// output stream. It reads the record of the newest fence, and what comes after that.
func (p Partition) Newest(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, end uint64) (map[string]result.Position, error) {
	fence, seq, err := p.Fence(ctx, nc)
	if err != nil {
		return nil, err
	}
	r, ok, err := fence.Record()
	switch {
	case err != nil:
		return nil, fmt.Errorf("fence %d of output stream %s: %w", seq, p.stream(), err)
	case !ok:
		r, err = p.LookUp(ctx, nc, fence, end)
	default:
		r, err = p.ReadOn(ctx, js, r, end, nil)
	}
	return r.Newest, err
}

// Fence returns the newest fence and its sequence; 0 for none.
func (p Partition) Fence(ctx context.Context, nc *nats.Conn) (f Fence, seq uint64, err error) {
	m, err := natsconn.LastMessage(ctx, nc, p.stream(), natsconn.FenceSubject(p.App, p.Number))
	if err != nil {
		return f, 0, fmt.Errorf("last fence of output stream %s: %w", p.stream(), err)
	}
	if m.Seq == 0 {
		return f, 0, nil
	}
	if f, err = ParseFence(m.Data); err != nil {
		return f, 0, fmt.Errorf("fence %d of output stream %s: %w", m.Seq, p.stream(), err)
	}
	return f, m.Seq, nil
}

// ReadOn returns the record of the output stream up to sequence end, where r is an earlier
// one. It hands each message to see, if that is not nil, and ends early with see's error.
func (p Partition) ReadOn(ctx context.Context, js jetstream.JetStream, r Record, end uint64, see func(seq uint64, subject string, h nats.Header) error) (Record, error) {
	next := Record{Newest: maps.Clone(r.Newest), Last: r.Last, Through: end}
	err := Scan(ctx, js, p.stream(), r.Through+1, end, func(seq uint64, subject string, h nats.Header) error {
		if see != nil {
			if err := see(seq, subject, h); err != nil {
				return err
			}
		}
		name, known := StreamOf(subject, h)
		if !known || Foreign(subject, h) {
			return nil
		}
		at, err := ReadPlace(h)
		if err != nil {
			return fmt.Errorf("result %d of output stream %s: %w", seq, p.stream(), err)
		}
		if at.After(next.Newest[name]) {
			next.Newest[name], next.Last = at, at
		}
		return nil
	})
	return next, err
}

// LookUp makes the record of an output stream up to sequence end that has none, since it is
// new or a release before 1.0 has written it: it looks up the newest result of each result
// stream. Streams with subjects of their own have none there, as a task writes a record before
// its first result. The positions of the newest fence count where results are gone.
func (p Partition) LookUp(ctx context.Context, nc *nats.Conn, fence Fence, end uint64) (Record, error) {
	r := Record{Newest: map[string]result.Position{}, Through: end}
	newest := uint64(0)
	for _, name := range p.Streams {
		m, err := natsconn.LastMessage(ctx, nc, p.stream(), natsconn.OutSubject(p.App, name, p.Number))
		if err != nil {
			return Record{}, fmt.Errorf("last result of %s in output stream %s: %w", name, p.stream(), err)
		}
		var at result.Position
		if m.Seq > 0 {
			if at, err = ReadPlace(m.Header); err != nil {
				return Record{}, fmt.Errorf("result %d of output stream %s: %w", m.Seq, p.stream(), err)
			}
			if m.Seq > newest {
				newest, r.Last = m.Seq, at
			}
		}
		if text := fence.Positions[name]; text != "" {
			before, err := result.Parse(fmt.Sprintf("%d:%s", max(fence.Generation, 1), text))
			if err != nil {
				return Record{}, fmt.Errorf("fence of output stream %s: %w", p.stream(), err)
			}
			if before.After(at) {
				at = before
			}
		}
		if at != (result.Position{}) {
			r.Newest[name] = at
		}
	}
	return r, nil
}

func (p Partition) stream() string { return natsconn.OutStream(p.App, p.Number) }
