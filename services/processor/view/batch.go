package view

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

const (
	// batchRowsMax is how many keys are written together. Of several rows with one key, only the
	// newest is written.
	batchRowsMax = 1024
	// knownMax is how many keys of the bucket are remembered with their revisions.
	knownMax = 200_000
	// lookUpAtOnce is how many keys are looked up in parallel.
	lookUpAtOnce = 32

	expiredKind = "expired"
)

// Error codes of JetStream's API.
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
)

// row is the newest row of a key in the batch.
type row struct {
	key    string
	data   []byte
	delete bool
	at     result.Position
	time   string // header Ef-Timestamp
	future jetstream.PubAckFuture
}

// put puts the rows of a result into the batch.
func (r *reading) put(data []byte, h nats.Header, at result.Position) {
	remove := r.v.of.Delete && h.Get(output.HeaderKind) == expiredKind
	if h.Get(output.HeaderFormat) != "" { // an earlier version of the app has written it
		r.v.note(func(i *Info) { i.Unkeyed++ })
		return
	}
	unkeyed := r.v.rows.each(data, func(key string, data []byte) {
		one := r.batch[key]
		if one == nil {
			one = &row{key: key}
			r.batch[key] = one
			r.order = append(r.order, one)
		}
		one.data, one.delete, one.at, one.time = data, remove, at, h.Get(output.HeaderTimestamp)
	})
	if unkeyed > 0 {
		r.v.note(func(i *Info) { i.Unkeyed += uint64(unkeyed) })
	}
}

// flush writes the batch to the bucket.
func (r *reading) flush(ctx context.Context) error {
	if len(r.known) > knownMax {
		clear(r.known)
	}
	for rest := r.order; len(rest) > 0; {
		refused, err := r.write(ctx, rest)
		if err != nil {
			return err
		}
		if err := r.lookUp(ctx, refused); err != nil {
			return err
		}
		rest = refused
	}
	clear(r.batch)
	r.order = r.order[:0]
	r.record.Sequence, r.record.Place = r.taken, r.place
	return nil
}

// write writes rows that are newer than what is known of their keys, and returns those that the
// bucket has refused, because it has another value of their key.
func (r *reading) write(ctx context.Context, rows []*row) (refused []*row, err error) {
	for _, one := range rows {
		one.future = nil
		e := r.known[one.key]
		if e.revision > 0 && !r.wants(&e, one.at) {
			continue
		}
		if one.future, err = r.v.js.PublishMsgAsync(r.message(one.key, &e, one)); err != nil {
			return nil, fmt.Errorf("put key %s into KV bucket %s: %w", one.key, r.v.of.Bucket, err)
		}
	}
	written := uint64(0)
	for _, one := range rows {
		if one.future == nil {
			continue
		}
		select {
		case ack := <-one.future.Ok():
			written++
			r.known[one.key] = entry{revision: ack.Sequence, ours: true, by: r.me, at: one.at, deleted: one.delete}
		case failed := <-one.future.Err():
			if wrongRevision(failed) {
				refused = append(refused, one)
			} else if err == nil {
				err = r.failed(one, failed)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	r.own += written
	r.v.note(func(i *Info) { i.Written += written })
	return refused, err
}

// wants reports whether a row at a position replaces what the bucket has.
func (r *reading) wants(e *entry, at result.Position) bool {
	switch {
	case !e.same(&r.me), e.at == (result.Position{}), voidedBy(r.cuts, e.at) != (cut{}):
		return true
	case e.at.Generation > at.Generation:
		return false
	}
	return before(e.at, at)
}

// void reports whether a value, or a delete, is of a row that is void.
func (r *reading) void(e *entry) bool { return e.same(&r.me) && voidedBy(r.cuts, e.at) != (cut{}) }

// message returns the message that writes a row, or deletes its key.
func (r *reading) message(key string, e *entry, one *row) *nats.Msg {
	m := &nats.Msg{Subject: "$KV." + r.v.of.Bucket + "." + key, Header: nats.Header{
		output.HeaderView:                   {r.me.String()},
		output.HeaderGeneration:             {strconv.FormatUint(one.at.Generation, 10)},
		output.HeaderPosition:               {strconv.FormatUint(one.at.Seq, 10) + "." + strconv.FormatUint(one.at.Ordinal, 10)},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(e.revision, 10)},
	}}
	if one.time != "" {
		m.Header[output.HeaderTimestamp] = []string{one.time}
	}
	if one.delete {
		m.Header[headerOperation] = []string{operationDelete}
	} else {
		m.Data = one.data
	}
	return m
}

func wrongRevision(err error) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer) && (answer.ErrorCode == codeWrongLastSequence || answer.ErrorCode == codeWrongLastSequenceConstant)
}

// failed names what a key could not be written for.
func (r *reading) failed(one *row, err error) error {
	if gone := r.v.gone(err); errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return gone
	}
	return fmt.Errorf("put key %s, of %d bytes, into KV bucket %s: %w", one.key, len(one.data), r.v.of.Bucket, err)
}

// lookUp finds out what the bucket has of the keys of rows.
func (r *reading) lookUp(ctx context.Context, rows []*row) error {
	found := make([]entry, len(rows))
	others := make([]bool, len(rows))
	var group errgroup.Group
	group.SetLimit(lookUpAtOnce)
	for i, one := range rows {
		group.Go(func() error {
			m, err := natsconn.LastMessage(ctx, r.v.cfg.Conn, r.v.bucket, "$KV."+r.v.of.Bucket+"."+one.key)
			if err != nil {
				return fmt.Errorf("key %s of KV bucket %s: %w", one.key, r.v.of.Bucket, err)
			}
			found[i] = readEntry(m.Seq, m.Header, r.me.App)
			others[i] = found[i].foreign(m.Header)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, one := range rows {
		if err := found[i].outdated(&r.me); err != nil {
			return err
		}
		if others[i] {
			r.v.foreign(one.key, found[i].revision)
		}
		r.known[one.key] = found[i]
	}
	return nil
}
