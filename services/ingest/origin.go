package ingest

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// origin is a JetStream stream that EventFlux does not write, and whose messages are the
// events of a source.
//
// The identity of a message is the creation time of its stream, and its sequence. The log
// keeps it as the message id $JS.<stream>:<created>:<sequence>.0, so that a message counts
// once, even after failures and however often it is read. A stream that was deleted and
// created again is a new one, and is read from its first message on.
type origin struct {
	siddhiql.Origin

	first uint64    // messages before this sequence are skipped: the server may start earlier
	since time.Time // messages that were stored before this time are skipped too
	next  uint64    // the expected sequence; 0: any, because the stream is filtered

	pending   atomic.Uint64 // messages after the newest one that was delivered
	skipped   atomic.Uint64 // sequences whose messages were removed before they were read
	recreated atomic.Uint64 // how often the stream was created again
}

// storedText distinguishes a message from another one with the same sequence.
func storedText(stored time.Time) string { return strconv.FormatInt(stored.UnixNano(), 10) }

// startOrigin sets where the consumer starts: after the last message that is known to be in
// the logs, or where the source says.
func (f *follower) startOrigin(ctx context.Context, info *jetstream.StreamInfo, cfg *jetstream.ConsumerConfig) error {
	o := f.origin
	if err := natsconn.CheckOrigin(info); err != nil {
		return err
	}
	f.made = info.Created
	o.first, o.since, o.next = 0, time.Time{}, 0
	at, state := f.progress.position(), info.State
	switch {
	case at.Sequence == 0:
		o.start(f.link.started)
	case at.Created.After(info.Created):
		return fmt.Errorf("JetStream stream %s was created at %s, but the stream that was read before at %s: it was restored from an older copy, so new messages look like those that were read; read a stream of another name",
			f.stream, info.Created.Format(time.RFC3339Nano), at.Created.Format(time.RFC3339Nano))
	case !at.Created.Equal(info.Created):
		o.recreated.Add(1)
		f.s.cfg.Log.Warn("a JetStream stream was deleted and created again; it is read from its first message on",
			"app", f.link.source.app.Name, "stream", f.link.source.stream.Name, "jetstream", f.stream, "created", info.Created, "before", at.Created, "read", at.Sequence)
	case at.Sequence > state.LastSeq:
		return fmt.Errorf("JetStream stream %s ends at message %d, but message %d was read: NATS has lost its end, or shows an old copy, and would use the sequences again; if this lasts, create the stream again, or read one of another name",
			f.stream, state.LastSeq, at.Sequence)
	default:
		if err := f.sameMessage(ctx, at, state.FirstSeq); err != nil {
			return err
		}
		o.first = at.Sequence + 1
	}
	cfg.OptStartSeq = max(o.first, 1)
	if !o.since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &o.since
	}
	f.skip(state)
	return nil
}

// start sets where the first reading starts.
func (o *origin) start(begun time.Time) {
	switch from := o.From; {
	case from.New:
		o.since = begun
	case from.Seq > 0:
		o.first = from.Seq
	default:
		o.since = from.Time
	}
}

// sameMessage checks that the stream still has the last message that was read, at the same
// sequence. If that message was removed, it checks nothing.
func (f *follower) sameMessage(ctx context.Context, at position, first uint64) error {
	if at.Sequence < first {
		return nil
	}
	m, err := natsconn.MessageAt(ctx, f.s.cfg.Conn, f.stream, at.Sequence)
	switch {
	case err != nil:
		return fmt.Errorf("read message %d of %s: %w", at.Sequence, f.stream, err)
	case m.Seq == 0:
		return nil
	case storedText(m.Time) != at.Place:
		return fmt.Errorf("message %d of JetStream stream %s is another one than was read: NATS has lost the end of the stream and reuses its sequences, so new messages look like those that were read; create the stream again, or read one of another name",
			at.Sequence, f.stream)
	}
	return nil
}

// skip counts the messages that were removed before they were read, and sets the next
// expected sequence.
func (f *follower) skip(state jetstream.StreamState) {
	o := f.origin
	from := o.first
	if o.first > 0 && o.first < state.FirstSeq {
		f.recordLoss(o.first, state.FirstSeq-1)
		from = state.FirstSeq
	}
	if o.Filter == "" && from > 0 {
		o.next = from
	}
}

// recordLoss counts and logs sequences whose messages were removed.
func (f *follower) recordLoss(from, to uint64) {
	f.origin.skipped.Add(to - from + 1)
	f.s.cfg.Log.Warn("messages of a JetStream stream were removed before they were read: by a purge, by hand, or by limits of the stream",
		"app", f.link.source.app.Name, "stream", f.link.source.stream.Name, "jetstream", f.stream, "from", from, "to", to)
}

// isBefore reports whether the message is before the start. If the stream ends before the
// start, the server delivers from the end of the stream.
func (o *origin) isBefore(meta *jetstream.MsgMetadata) bool {
	o.pending.Store(meta.NumPending)
	return meta.Sequence.Stream < o.first || meta.Timestamp.Before(o.since)
}

// takeStored appends a message to the logs that lack it, as take does for a result.
func (f *follower) takeStored(ctx context.Context, m *nats.Msg, meta *jetstream.MsgMetadata) error {
	o, in, seq := f.origin, f.in, meta.Sequence.Stream
	if o.Filter == "" {
		if o.next > 0 && seq > o.next {
			f.recordLoss(o.next, seq-1)
		}
		o.next = seq + 1
	}
	at := result.Position{Generation: uint64(f.made.UnixNano()), Seq: seq}
	for _, newest := range f.newest {
		if newest.Generation > at.Generation {
			return fmt.Errorf("the log has messages of a JetStream stream %s that was created later: the stream was restored from an older copy; read a stream of another name", f.stream)
		}
	}
	in.arrived = max(in.arrived, f.s.cfg.Now())
	in.letter = messageHeaders{ts: min(meta.Timestamp.UnixMilli(), in.arrived), timed: true}
	if err := in.letter.readStored(m.Header); err != nil {
		f.refuse(m, err)
		return nil
	}
	in.letter.id = result.ID(f.subject, at)
	if len(m.Data) > f.s.cfg.EventBytesMax {
		f.refuse(m, fmt.Errorf("message of %d bytes, limit %d (ingest.event_bytes_max)", len(m.Data), f.s.cfg.EventBytesMax))
		return nil
	}
	plain, err := in.inflater.inflate(m, f.s.cfg.EventBytesMax)
	if err != nil {
		f.refuse(m, err)
		return nil
	}
	return f.hand(ctx, plain, at)
}

// readStored parses the headers of a message of an origin. It ignores headers for JetStream,
// which has already handled them, and the message id, which was for the stream.
func (l *messageHeaders) readStored(h nats.Header) (err error) {
	if text := h.Get(headerTimestamp); text != "" {
		if l.ts, err = parseTimestamp(text); err != nil {
			return err
		}
	}
	l.chunk = h.Get(headerChunk) == "1"
	l.trace = trace(h)
	return nil
}
