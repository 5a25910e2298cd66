package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	// leaseBeat is how often the process that reads for a source writes the source's record.
	leaseBeat = 500 * time.Millisecond
	// leaseBeatsMax is how many beats in a row the record may stay unchanged before another
	// process takes the lease although its owner is still connected. No clocks are compared:
	// the waiting process only compares revisions.
	leaseBeatsMax = 6
	// goneTimeout is how long a process waits for NATS to report that the owner is gone.
	goneTimeout = leaseBeat
)

var errLeaseLost = errors.New("another process has taken over")

// record is the value in the bucket EF_LINKS for each source that reads from JetStream: the
// results of another app, or a stream that EventFlux does not write. It has two purposes. It
// is a lease: while its owner writes it at each beat, no other process reads for the source.
// And it says where reading continues. Results depend on neither: the task recognizes results
// that are in its log twice, and without a record, reading starts at the first result.
type record struct {
	Owner string `json:"owner"` // "": none
	// Log is when the source's first log was created. It distinguishes the records of a removed
	// app from those of a new app with the same name.
	Log time.Time `json:"log"`
	// Begun is when the source first started to read: older messages are not new to it.
	Begun     time.Time           `json:"begun,omitzero"`
	Positions map[uint32]position `json:"positions"` // by partition of the other app
}

// encode puts a checksum in front of the record.
func (r *record) encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s", crc32.ChecksumIEEE(data), data), nil
}

func parseRecord(value []byte) (record, error) {
	sum, data, _ := strings.Cut(string(value), " ")
	want, err := strconv.ParseUint(sum, 16, 32)
	if err != nil || uint32(want) != crc32.ChecksumIEEE([]byte(data)) {
		return record{}, errors.New("its checksum is wrong")
	}
	var r record
	err = json.Unmarshal([]byte(data), &r)
	return r, err
}

// lease is the record of a source while this process owns it.
type lease struct {
	link     *link
	bucket   jetstream.KeyValue
	key      string
	revision uint64
	record   record
}

// acquire waits until no other process reads for the source, and returns the lease.
func (l *link) acquire(ctx context.Context) (*lease, error) {
	ask, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	bucket, err := l.s.js.KeyValue(ask, natsconn.LinksBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s, which the checkpointers make: %w", natsconn.LinksBucket, err)
	}
	log, err := l.s.js.Stream(ask, l.source.logs[0].stream)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", l.source.logs[0].stream, err)
	}
	one := &lease{link: l, bucket: bucket, key: natsconn.LinkKey(l.source.app.Name, l.source.stream.Name, l.subject())}
	created := log.CachedInfo().Created
	if err := one.await(ctx, created); err != nil {
		return nil, err
	}
	if !one.record.Log.Equal(created) {
		one.record = record{Log: created}
	}
	if one.record.Begun.IsZero() {
		one.record.Begun = one.record.Log
		if l.source.added {
			one.record.Begun = l.source.made
		}
	}
	l.started = one.record.Begun
	one.record.Owner = l.s.id
	if one.record.Positions == nil {
		one.record.Positions = map[uint32]position{}
	}
	return one, one.write(ctx)
}

// await returns once the record has no owner, or an owner that has stopped writing it.
func (o *lease) await(ctx context.Context, log time.Time) error {
	ticker := time.NewTicker(o.link.s.leaseBeat)
	defer ticker.Stop()
	for same := 0; ; same++ {
		before := o.revision
		if err := o.read(ctx); err != nil {
			return err
		}
		if o.revision != before {
			same = 0
		}
		if o.record.Log.Equal(log) && !o.record.Positions[0].Created.IsZero() && o.link.source.stream.ReadsBucket() != nil {
			o.link.isLoaded() // in an earlier reading, or by the other process
		}
		if o.record.Owner == "" || o.record.Owner == o.link.s.id || same >= leaseBeatsMax || o.link.s.gone(ctx, o.record.Owner) {
			return nil
		}
		o.link.report(nil, fmt.Errorf("process %s reads them for this source", o.record.Owner))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gone reports whether NATS knows that a process is no longer connected. Each process
// subscribes to its own subject and never answers there, so the only possible answer is that
// there are no responders.
func (s *Service) gone(ctx context.Context, owner string) bool {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	_, err := s.cfg.Conn.RequestWithContext(ctx, readerSubject(owner), nil)
	return errors.Is(err, nats.ErrNoResponders)
}

// readerSubject is the subject that a process subscribes to while it lives.
func readerSubject(owner string) string { return natsconn.ServiceSubject("ingest", "reader."+owner) }

// read reads the record. A missing or damaged record has no owner.
func (o *lease) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	entry, err := o.bucket.Get(ctx, o.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		o.revision, o.record = 0, record{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("bucket %s: get %s: %w", natsconn.LinksBucket, o.key, err)
	}
	r, err := parseRecord(entry.Value())
	if err != nil {
		o.link.s.cfg.Log.Warn("the record of a source is damaged; the source is read from the start again, without the results that its log has already",
			"app", o.link.source.app.Name, "stream", o.link.source.stream.Name, "bucket", natsconn.LinksBucket, "key", o.key, "reason", err)
	}
	o.revision, o.record = entry.Revision(), r
	return nil
}

// write writes the record, unless it has changed since this process read or wrote it.
func (o *lease) write(ctx context.Context) error {
	value, err := o.record.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	var revision uint64
	if o.revision == 0 {
		revision, err = o.bucket.Create(ctx, o.key, value) // Update refuses a key that was deleted
	} else {
		revision, err = o.bucket.Update(ctx, o.key, value, o.revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		return errLeaseLost
	}
	if err != nil {
		return fmt.Errorf("bucket %s: put %s: %w", natsconn.LinksBucket, o.key, err)
	}
	o.revision = revision
	return nil
}

// keep writes the record at each beat until ctx ends or the lease is lost.
func (o *lease) keep(ctx context.Context) error {
	ticker := time.NewTicker(o.link.s.leaseBeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		o.updatePositions()
		if err := o.write(ctx); err != nil {
			return err // even if the outcome is unknown: then the revision is unknown too
		}
	}
}

// updatePositions copies the durable positions of the followers into the record.
func (o *lease) updatePositions() {
	o.link.mu.Lock()
	defer o.link.mu.Unlock()
	for _, f := range o.link.followers {
		if p := f.progress.position(); p.Sequence > 0 {
			o.record.Positions[f.partition] = p
		}
	}
	if b := o.link.bucket; b != nil {
		if p := b.progress.position(); !p.Created.IsZero() {
			o.record.Positions[0] = p
		}
	}
}

// release gives up the lease. First it waits, for at most a beat, until the appended results
// are durable.
func (o *lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), o.link.s.leaseBeat)
	defer cancel()
	o.link.mu.Lock()
	var all []*progress
	for _, f := range o.link.followers {
		all = append(all, f.progress)
	}
	if b := o.link.bucket; b != nil {
		all = append(all, b.progress)
	}
	o.link.mu.Unlock()
	for _, p := range all {
		_ = p.await(ctx) // after a timeout, the record has the durable positions
	}
	o.updatePositions()
	o.record.Owner = ""
	if err := o.write(ctx); err != nil {
		o.link.s.cfg.Log.Debug("give up the lease of a source; it expires without that", "key", o.key, "err", err)
	}
}
