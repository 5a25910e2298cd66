package ingest

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// pieceBytesMax is the size at which the rows of a large message are split into several
// appends, so that frames stay near the best size for a log.
const pieceBytesMax = 256 << 10

// send is one planned append.
type send struct {
	log *log
	msg wal.Message
}

// spreadWithID is spread for a message of a publisher. If several apps read the subject and
// the publisher waits for an answer, a message without an id gets one: if only some of the
// logs accept it, the publisher repeats it with this id, and each app counts it once. A
// message with an id is one piece per log. If it is too large for that, it goes without an id.
func (in *intake) spreadWithID(m *nats.Msg, r *route) (short bool, p *problem) {
	if !r.several || m.Reply == "" || in.letter.id != "" {
		return in.spread(r)
	}
	in.letter.id = in.nextID()
	if short, p = in.spread(r); short || p != nil {
		in.letter.id = ""
		return in.spread(r)
	}
	return short, p
}

// nextID returns an id that no other message has.
func (in *intake) nextID() string {
	in.ids++
	var text [32]byte
	return string(strconv.AppendUint(append(text[:0], in.idStart...), in.ids, 36))
}

// spread plans all appends for the rows in the decodings, and computes their cost. Nothing is
// appended until it is known that all appends are possible. If several apps read the subject
// and the logs of some can never accept the message, those apps are left out, and short is
// true. A problem concerns all apps.
func (in *intake) spread(r *route) (short bool, p *problem) {
	in.sends, in.cost = in.sends[:0], 0
	for i := range r.decodings {
		l := &r.decodings[i]
		for _, t := range l.targets {
			t.problem = nil
			if l.accepted == 0 {
				continue
			}
			sends, cost := len(in.sends), in.cost
			if t.problem = in.spreadOne(l.batch, t); t.problem == nil {
				continue
			}
			if short, p = true, t.problem; !r.several {
				return false, p
			}
			in.sends, in.cost = in.sends[:sends], cost
		}
	}
	if len(in.sends) > 0 {
		return short, nil
	}
	return false, p
}

func (in *intake) spreadOne(b *event.Batch, t *target) *problem {
	if t.key == nil {
		return in.split(t.logs[0], b, 0, b.Len())
	}
	if b.Len() == 1 {
		return in.split(t.logs[t.shard(b, 0)], b, 0, 1)
	}
	for _, part := range t.parts {
		part.Reset()
	}
	for row := range b.Len() {
		t.parts[t.shard(b, row)].AppendRow(b, row)
	}
	for i, part := range t.parts {
		if part.Len() == 0 {
			continue
		}
		if p := in.split(t.logs[i], part, 0, part.Len()); p != nil {
			return p
		}
	}
	return nil
}

// shard returns the partition of a row. A row with a null key has no partition; the app
// ignores it, so any partition will do.
func (t *target) shard(b *event.Batch, row int) int {
	key, ok := t.key(b, row)
	if !ok {
		return 0
	}
	return int(engine.Home(key, uint32(len(t.logs))))
}

// split adds the appends of the rows [from, to) of b. A chunk or a message with an id must stay
// in one piece: a second piece with the same id would count as a repetition.
func (in *intake) split(l *log, b *event.Batch, from, to int) *problem {
	m := wal.Message{
		Batch: b, From: from, To: to, Arrived: in.arrived,
		Chunk: in.letter.chunk, ID: in.letter.id, Header: in.letter.trace,
	}
	size := m.Bytes()
	whole := m.Chunk || m.ID != "" || to-from == 1
	if size > pieceBytesMax {
		if !whole {
			middle := from + (to-from)/2
			if p := in.split(l, b, from, middle); p != nil {
				return p
			}
			return in.split(l, b, middle, to)
		}
		if limit := l.writer.Load().MessageBytesMax(); size > limit {
			return &problem{tooLarge, fmt.Sprintf(
				"%d events have %d bytes, but a frame of the log holds at most %d; split the message, or publish it without %s and %s",
				to-from, size, limit, headerID, headerChunk)}
		}
	}
	in.cost += int64(size)
	in.sends = append(in.sends, send{l, m})
	return nil
}

// commit makes the appends that spread has planned, and arranges for the answer.
func (in *intake) commit(m *nats.Msg, r *route, refused bool) {
	to := answerTo{reply: m.Reply, id: in.letter.id, first: in.duplicate()}
	if refused {
		to.outcome = refusals(r)
		to.tail = to.outcome.tail()
	}
	if len(in.sends) == 0 {
		in.s.answerRefused(m.Reply, to.tail)
		return
	}
	for i := range r.decodings {
		for _, t := range r.decodings[i].targets {
			if t.problem == nil {
				t.accepted.Add(uint64(r.decodings[i].accepted))
			}
		}
	}
	a := in.s.newAck(to, in.cost, in.sends[0].log, len(in.sends))
	if r.several || in.letter.id != "" && to.first == 0 {
		a.trackParts(in.sends, r.several, in.arrived)
	}
	in.append(a)
}

// append makes the appends. The writers report their outcomes to a.
func (in *intake) append(a *ack) {
	apart := len(a.parts) > 0 // read now: after the last append, a may already be reused
	for i := range in.sends {
		var done wal.Committed = (*laterAck)(a)
		switch {
		case apart:
			done = &a.parts[i]
		case i == 0:
			done = a
		}
		if err := in.sends[i].log.writer.Load().Append(&in.sends[i].msg, done); err != nil {
			done.Committed(0, err) // the writer has ended
		}
	}
}
