package view

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const scanMessages = 1000 // in one request

// scan reads the headers of values in the bucket: the newest of each key, or all from a revision
// on.
func (r *reading) scan(ctx context.Context, from uint64, see func(key string, revision uint64, h nats.Header) error) error {
	cfg := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: "$KV." + r.v.of.Bucket + ".>",
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
		Description: "checks who has written the values",
	}
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	consumer, err := r.v.js.CreateConsumer(ask, r.v.bucket, cfg)
	if err != nil {
		return r.v.gone(err)
	}
	info := consumer.CachedInfo()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = r.v.js.DeleteConsumer(ctx, r.v.bucket, info.Name) // the server forgets it anyway
	}()
	for got, pending := uint64(0), info.NumPending; got < info.NumPending && pending > 0; {
		batch, err := consumer.FetchNoWait(scanMessages)
		if err != nil {
			return fmt.Errorf("read KV bucket %s: %w", r.v.of.Bucket, err)
		}
		before := got
		for m := range batch.Messages() {
			meta, failed := m.Metadata()
			if got++; failed != nil || meta.Sequence.Consumer != got {
				err = fmt.Errorf("read KV bucket %s: messages were lost on the way", r.v.of.Bucket)
			}
			if err == nil {
				pending = meta.NumPending
				err = see(keyOf(m.Subject()), meta.Sequence.Stream, m.Headers())
			}
		}
		switch {
		case err != nil:
			return err
		case batch.Error() != nil:
			return fmt.Errorf("read KV bucket %s: %w", r.v.of.Bucket, batch.Error())
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case got == before:
			return nil // the rest was removed in the meantime
		}
	}
	return nil
}

// keyOf returns the key of a value: its subject is $KV.<bucket>.<key>.
func keyOf(subject string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, "$KV."), ".")
	return rest
}

// entries hands over what the bucket has of each key.
func (r *reading) entries(ctx context.Context, see func(key string, e entry) error) error {
	return r.scan(ctx, 0, func(key string, revision uint64, h nats.Header) error {
		e := readEntry(revision, h, r.me.App)
		if err := e.outdated(&r.me); err != nil {
			return err
		}
		if e.foreign(h) {
			r.v.foreign(key, revision)
		}
		return see(key, e)
	})
}

// prefetch learns what the bucket has before it is filled.
func (r *reading) prefetch(ctx context.Context) error {
	return r.entries(ctx, func(key string, e entry) error {
		if len(r.known) < knownMax {
			r.known[key] = e
		}
		return nil
	})
}

// sweep deletes the keys that no valid row has. It is called once all rows are in the bucket.
func (r *reading) sweep(ctx context.Context) error {
	var stale []*row
	err := r.entries(ctx, func(key string, e entry) error {
		if e.revision > r.start && r.void(&e) {
			return r.refill(ctx) // another process wrote it during the fill, over a valid row perhaps
		}
		if by := voidedBy(r.cuts, e.at); !e.deleted && e.ours && r.mine(&e) && (!e.same(&r.me) || by != (cut{})) {
			r.known[key] = e
			stale = append(stale, &row{key: key, delete: true, at: by})
		}
		return nil
	})
	for len(stale) > 0 && err == nil {
		n := min(len(stale), batchRowsMax)
		_, err = r.write(ctx, stale[:n]) // what is refused was written in the meantime
		stale = stale[n:]
	}
	return err
}

// mine reports whether this partition has to delete a value of the app, once no row has its key.
// The first partition cleans up after views and partitions that are no more.
func (r *reading) mine(e *entry) bool {
	if e.by.Stream == r.me.Stream && e.by.Partition < uint32(max(r.v.cfg.Partitions, 1)) {
		return e.by.Partition == r.me.Partition
	}
	return r.me.Partition == 0
}

// look checks that the bucket is still there, and whether somebody else has written it. Only the
// first partition looks at all keys.
func (r *reading) look(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	bucket, err := r.v.js.Stream(ask, r.v.bucket)
	if err != nil {
		return r.v.gone(err)
	}
	info := bucket.CachedInfo()
	if !info.Created.Equal(r.created) {
		return fmt.Errorf("KV bucket %s was deleted and created again; it is filled again", r.v.of.Bucket)
	}
	last, void := info.State.LastSeq, false
	if r.me.Partition == 0 && last > r.record.Known+r.own {
		err := r.scan(ctx, r.record.Known+1, func(key string, revision uint64, h nats.Header) error {
			e := readEntry(revision, h, r.me.App)
			if e.foreign(h) {
				r.v.dirty = true
				r.v.foreign(key, revision)
				delete(r.known, key)
			}
			void = void || r.void(&e)
			return e.outdated(&r.me)
		})
		if err != nil {
			return err
		}
	}
	r.record.Known, r.own = max(r.record.Known, last), 0
	if void { // of a process that had not read a new generation yet
		return r.refill(ctx)
	}
	if r.v.dirty && !r.record.Filling && time.Since(r.v.filled) > max(r.v.cfg.Repair, 10*r.v.took) {
		return r.refill(ctx)
	}
	return nil
}

// foreign notes that somebody else has written a key.
func (v *View) foreign(key string, revision uint64) {
	if revision <= v.others {
		return
	}
	v.others = revision
	v.note(func(i *Info) {
		i.Foreign++
		i.ForeignAt = fmt.Sprintf("key %s, revision %d", key, revision)
	})
	v.log(slog.LevelWarn, "somebody else writes the bucket of a view; the view writes its own row over it", "key", key, "revision", revision)
}
