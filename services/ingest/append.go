package ingest

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"eventflux/shared/event"
	"eventflux/shared/wal"
)

// pieceBytesMax is where the rows of a large message are cut into several
// appends, so that frames stay near the size that a log writes best.
const pieceBytesMax = 256 << 10

// send is one append that is to be made.
type send struct {
	log *log
	msg wal.Message
}

// spread works out all appends for the rows in the lanes, and what they cost.
// Nothing is appended before it is known that all can be.
func (in *intake) spread(r *route) *problem {
	in.sends, in.cost = in.sends[:0], 0
	for i := range r.lanes {
		l := &r.lanes[i]
		if l.accepted == 0 {
			continue
		}
		for _, t := range l.targets {
			if p := in.spreadOne(l.batch, t); p != nil {
				return p
			}
		}
	}
	return nil
}

func (in *intake) spreadOne(b *event.Batch, t *target) *problem {
	if t.key == nil {
		return in.cut(t.logs[0], b, 0, b.Len())
	}
	if b.Len() == 1 {
		return in.cut(t.logs[t.shard(b, 0)], b, 0, 1)
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
		if p := in.cut(t.logs[i], part, 0, part.Len()); p != nil {
			return p
		}
	}
	return nil
}

// shard returns the partition of a row: FNV-1a of its key's text. A null key has
// none; the app ignores the row, so any partition will do.
func (t *target) shard(b *event.Batch, row int) int {
	key, ok := t.key(b, row)
	if !ok {
		return 0
	}
	return int(fnv1a(key) % uint32(len(t.logs)))
}

func fnv1a(text string) uint32 {
	const offset, prime = 2166136261, 16777619
	hash := uint32(offset)
	for i := range len(text) {
		hash = (hash ^ uint32(text[i])) * prime
	}
	return hash
}

// cut adds the appends of the rows [from, to) of b. A chunk, and what has an id,
// must stay in one piece: the id of a second piece would be taken for a repetition.
func (in *intake) cut(l *log, b *event.Batch, from, to int) *problem {
	m := wal.Message{
		Batch: b, From: from, To: to, Arrived: in.arrived,
		Chunk: in.letter.chunk, ID: in.letter.id, Header: in.letter.trace,
	}
	size := m.Bytes()
	whole := m.Chunk || m.ID != "" || to-from == 1
	if size > pieceBytesMax {
		if !whole {
			middle := from + (to-from)/2
			if p := in.cut(l, b, from, middle); p != nil {
				return p
			}
			return in.cut(l, b, middle, to)
		}
		if limit := l.writer.Load().MessageBytesMax(); size > limit {
			return &problem{tooLarge, fmt.Sprintf(
				"%d events take %d bytes, and a frame of the log takes %d; split the message, or publish it without %s and %s",
				to-from, size, limit, headerID, headerChunk)}
		}
	}
	in.cost += int64(size)
	in.sends = append(in.sends, send{l, m})
	return nil
}

// commit appends what spread has worked out, and arranges for the answer.
func (in *intake) commit(m *nats.Msg, r *route, refused bool) {
	var tail []byte
	if refused {
		tail = refusals(r)
	}
	if len(in.sends) == 0 {
		in.s.answerRefused(m.Reply, tail)
		return
	}
	for i := range r.lanes {
		for _, t := range r.lanes[i].targets {
			t.accepted.Add(uint64(r.lanes[i].accepted))
		}
	}
	in.append(in.s.newAck(answerTo{reply: m.Reply, tail: tail}, in.cost, in.sends[0].log, len(in.sends)))
}

// append makes the appends, whose outcomes a is told.
func (in *intake) append(a *ack) {
	for i := range in.sends {
		var done wal.Committed = (*laterAck)(a)
		if i == 0 {
			done = a
		}
		if err := in.sends[i].log.writer.Load().Append(&in.sends[i].msg, done); err != nil {
			done.Committed(0, err) // the log has ended
		}
	}
}
