package ingest

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// recentMax is how many message ids of an app are remembered, over all of its partitions:
// about 8 MB. If there are more in the dedup window, only the newest are remembered.
const recentMax = 200_000

// recentIDs remembers the message ids of a log's newest events, so that the answer to a
// repeated message can say that it is one. This only informs the publisher: the task decides
// what counts, and a repetition whose id is not remembered is just not reported. It keeps
// hashes of ids.
type recentIDs struct {
	seed maphash.Seed
	span int64 // ms
	most int

	mu    sync.Mutex
	first map[uint64]uint64 // by hash: the sequence of the first frame with it
	order []recentID        // a ring, from head on
	head  int
	size  int
}

type recentID struct {
	hash uint64
	at   int64 // arrival stamp
}

func newRecentIDs(span int64, partitions int) *recentIDs {
	return &recentIDs{seed: maphash.MakeSeed(), span: span, most: max(recentMax/partitions, 1), first: map[uint64]uint64{}}
}

func (r *recentIDs) hash(stream, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.WriteString(stream) // never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(id)
	return h.Sum64()
}

// find returns the sequence of the first frame with an id of a stream; 0 if there is none.
func (r *recentIDs) find(stream, id string, now int64) uint64 {
	hash := r.hash(stream, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now - r.span)
	return r.first[hash]
}

// add remembers an id with its arrival stamp and its frame. If the id is known, the earlier
// frame counts.
func (r *recentIDs) add(stream, id string, at int64, seq uint64) {
	hash := r.hash(stream, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, known := r.first[hash]; known {
		r.first[hash] = min(was, seq)
		return
	}
	if r.size == r.most {
		r.drop()
	}
	if r.size == len(r.order) {
		r.grow()
	}
	r.order[(r.head+r.size)%len(r.order)] = recentID{hash, at}
	r.size++
	r.first[hash] = seq
}

// grow doubles the room.
func (r *recentIDs) grow() {
	larger := make([]recentID, min(max(2*len(r.order), 64), r.most))
	for i := range r.size {
		larger[i] = r.order[(r.head+i)%len(r.order)]
	}
	r.order, r.head = larger, 0
}

// forget drops the ids that arrived before a time.
func (r *recentIDs) forget(before int64) {
	for r.size > 0 && r.order[r.head].at < before {
		r.drop()
	}
}

func (r *recentIDs) drop() {
	delete(r.first, r.order[r.head].hash)
	r.head = (r.head + 1) % len(r.order)
	r.size--
}

// remember adds the ids of frames that were written in the dedup window before the start. It
// runs concurrently with intake.
func (u *unit) remember(ctx context.Context) {
	for _, l := range u.logs {
		if err := u.readIDs(ctx, l); err != nil && ctx.Err() == nil {
			u.s.cfg.Log.Debug("message ids of a log are not known; repeated messages are answered as new, but still count once", "jetstream", l.stream, "err", err)
		}
	}
}

func (u *unit) readIDs(ctx context.Context, l *log) error {
	first, last, err := u.s.span(ctx, l, time.Now().Add(-time.Duration(l.recent.span)*time.Millisecond))
	if err != nil || first > last {
		return err
	}
	reader, err := wal.OpenReader(ctx, wal.ReaderConfig{JS: u.s.js, Stream: l.stream, From: first, Log: u.s.cfg.Log})
	if err != nil {
		return err
	}
	defer reader.Close()
	var decoder frame.Decoder
	for reader.Position() <= last {
		record, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		f, err := decoder.Decode(record.Data)
		if err != nil {
			continue // the task reports it
		}
		l.recent.addFrame(f, record.Seq)
	}
	return nil
}

// addFrame adds the ids of a frame.
func (r *recentIDs) addFrame(f *frame.Frame, seq uint64) {
	next := make([]int, len(f.Blocks))
	for i := range f.Runs {
		run := &f.Runs[i]
		block := &f.Blocks[run.Block]
		at := block.Stamps()[next[run.Block]]
		next[run.Block] += int(run.Rows)
		if run.ID != "" {
			r.add(block.Batch.Schema.Name, run.ID, at, seq)
		}
	}
}

// duplicate returns the sequence of the first frame with the message's id, if each app that
// accepts the message has it already; otherwise 0.
func (in *intake) duplicate() uint64 {
	if in.letter.id == "" {
		return 0
	}
	var first uint64
	for i := range in.sends {
		one := &in.sends[i]
		seq := one.log.recent.find(one.msg.Batch.Schema.Name, in.letter.id, in.arrived)
		if seq == 0 {
			return 0
		}
		if i == 0 {
			first = seq
		}
	}
	return first
}
