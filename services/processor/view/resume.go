package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// resume finds out where reading continues.
func (v *View) resume(ctx context.Context) (*reading, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	results, err := v.js.Stream(ctx, v.results)
	if err != nil {
		return nil, fmt.Errorf("output stream %s: %w", v.results, err)
	}
	bucket, err := v.js.Stream(ctx, v.bucket)
	if err != nil {
		return nil, v.gone(err)
	}
	out, kv := results.CachedInfo(), bucket.CachedInfo()
	r := &reading{
		v: v, created: kv.Created, batch: map[string]*row{}, known: map[string]entry{}, begun: time.Now(),
		me: writer{v.cfg.App, v.cfg.Stream.Name, v.cfg.Partition, out.Created.UnixNano(), v.cfg.Version, v.digest},
	}
	if r.record, r.cuts, err = v.loadRecord(ctx); err != nil {
		return nil, err
	}
	why, err := v.differs(ctx, &r.record, out, kv)
	if err != nil {
		return nil, err
	}
	if why != "" {
		if !r.record.Bucket.IsZero() {
			v.log(slog.LevelWarn, "a view is filled again", "reason", why)
			if !r.record.Bucket.Equal(kv.Created) {
				v.note(func(i *Info) { i.Recreated++ })
			}
		}
		r.record, r.cuts = record{Digest: v.digest, Bucket: kv.Created, Results: out.Created, Filling: true, FillEnd: out.State.LastSeq, Known: kv.State.LastSeq}, nil
	}
	r.trimmed = r.record.Sequence > 0 && r.record.Sequence+1 < out.State.FirstSeq
	r.taken, r.place = r.record.Sequence, r.record.Place
	if r.start = kv.State.LastSeq; r.record.Filling {
		v.dirty = false
		err = r.prefetch(ctx)
	}
	return r, err
}

// differs says why the record says nothing about the bucket and the output stream; "" if it does.
func (v *View) differs(ctx context.Context, r *record, out, kv *jetstream.StreamInfo) (why string, err error) {
	switch {
	case r.Bucket.IsZero():
		return "there is no record", nil
	case !r.Bucket.Equal(kv.Created):
		return "the bucket was deleted and created again", nil
	case !r.Results.Equal(out.Created):
		return "the output stream was created again", nil
	case r.Digest != v.digest:
		return "the view is defined in another way", nil
	case r.Sequence > out.State.LastSeq:
		return fmt.Sprintf("the output stream ends at %d, and message %d was read", out.State.LastSeq, r.Sequence), nil
	case r.Known > kv.State.LastSeq:
		return fmt.Sprintf("the bucket ends at revision %d, and revision %d was known", kv.State.LastSeq, r.Known), nil
	case r.Sequence == 0 || r.Sequence < out.State.FirstSeq:
		return "", nil
	}
	m, err := natsconn.MessageAt(ctx, v.cfg.Conn, v.results, r.Sequence)
	if err != nil {
		return "", fmt.Errorf("message %d of output stream %s: %w", r.Sequence, v.results, err)
	}
	if m.Seq == 0 && r.Sequence < output.Compactions(out.Config)[v.cfg.Stream.Name].Before {
		return "", nil // it was removed on purpose
	}
	if placeOf(m.Header) != r.Place {
		return fmt.Sprintf("message %d of the output stream is another one", r.Sequence), nil
	}
	return "", nil
}

func placeOf(h nats.Header) string {
	return h.Get(output.HeaderGeneration) + ":" + h.Get(output.HeaderPosition)
}

func (v *View) gone(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("KV bucket %s is not there: the checkpointers make it, and look for it once a minute; then it is filled again", v.of.Bucket)
	}
	return fmt.Errorf("KV bucket %s: %w", v.of.Bucket, err)
}

// open makes a consumer of the results after the record.
func (r *reading) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	results, err := r.v.js.Stream(ctx, r.v.results)
	if err != nil {
		return fmt.Errorf("output stream %s: %w", r.v.results, err)
	}
	cfg := jetstream.ConsumerConfig{
		Description:   fmt.Sprintf("rows for the view of stream %s in KV bucket %s", r.me.Stream, r.v.of.Bucket),
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.record.Sequence + 1, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
	}
	chosen := func(subject string) bool {
		return !strings.HasPrefix(subject, "out.") && !strings.HasPrefix(subject, "ef.")
	}
	if !slices.ContainsFunc(results.CachedInfo().Config.Subjects, chosen) { // else a version may have put its results anywhere
		cfg.FilterSubject = natsconn.OutSubject(r.v.cfg.App, r.me.Stream, r.me.Partition)
	}
	if r.consumer, err = results.CreateConsumer(ctx, cfg); err != nil {
		return fmt.Errorf("consumer of output stream %s: %w", r.v.results, err)
	}
	r.messages, err = r.consumer.Messages(jetstream.PullMaxMessages(fetchMessages), jetstream.PullExpiry(fetchExpiry), jetstream.PullHeartbeat(fetchHeartbeat))
	if err != nil {
		return fmt.Errorf("pull from output stream %s: %w", r.v.results, err)
	}
	return nil
}
