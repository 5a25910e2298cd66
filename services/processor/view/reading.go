package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

const (
	consumerIdle   = time.Minute // the server forgets a consumer that is not used
	fetchMessages  = 4096
	fetchExpiry    = 10 * time.Second
	fetchHeartbeat = 2 * time.Second
	// quietMax is how long nothing may come, while the bucket is filled, before the server is asked
	// whether that was all.
	quietMax = 50 * time.Millisecond
)

// errFill says that the bucket has to be filled again from the first result on.
var errFill = errors.New("the bucket is filled again")

// reading reads the output stream from the record on, until something has to be done from the
// start.
type reading struct {
	v       *View
	me      writer
	record  record // as it is true now
	saved   record // as it was written last, without what cannot be compared
	cuts    []cut
	created time.Time // of the bucket

	consumer  jetstream.Consumer
	messages  jetstream.MessagesContext
	incoming  chan incoming
	delivered uint64
	trimmed   bool   // messages are gone between the record and the first one that is read
	taken     uint64 // the last sequence that is in the batch, or in the bucket
	place     string // of it
	beaten    time.Time

	batch map[string]*row
	order []*row
	known map[string]entry // what the bucket has, as far as it is known
	own   uint64           // writes since record.Known
	begun time.Time
	start uint64 // the bucket's last revision then
}

// read keeps the bucket until ctx ends, or until there is a reason to start again.
func (v *View) read(ctx context.Context) error {
	ctx, cancel := natsconn.WhileConnected(ctx, v.cfg.Conn)
	defer cancel()
	r, err := v.resume(ctx)
	if err != nil {
		return err
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	defer r.pull(ctx)()
	state := Following
	if r.record.Filling {
		state = Filling
	}
	v.report(state, nil)
	timer := time.NewTimer(r.wait())
	defer timer.Stop()
	for r.beaten = time.Now(); ; {
		timer.Reset(r.wait())
		select {
		case <-ctx.Done():
			r.leave(ctx)
			return context.Cause(ctx)
		case in := <-r.incoming:
			err = in.err
			if err == nil {
				err = r.take(ctx, in.msg)
			}
		case <-timer.C:
			err = r.quiet(ctx)
		}
		if err == nil && time.Since(r.beaten) >= v.cfg.Beat {
			err = r.beat(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// incoming is a message of the output stream, or why there are no more.
type incoming struct {
	msg jetstream.Msg
	err error
}

// pull reads ahead, so that rows that wait are written together. The returned function ends that.
func (r *reading) pull(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	r.incoming = make(chan incoming, batchRowsMax)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := r.messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				err = fmt.Errorf("read %s: %w", r.v.results, err)
			}
			select {
			case r.incoming <- incoming{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		r.messages.Stop()
	}
}

func (r *reading) wait() time.Duration {
	if r.record.Filling {
		return quietMax
	}
	return r.v.cfg.Beat
}

// take puts the rows of a result into the batch.
func (r *reading) take(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read %s: %w", r.v.results, err)
	}
	if r.delivered++; meta.Sequence.Consumer != r.delivered {
		return fmt.Errorf("read %s: delivery %d came when %d should: some were lost on the way", r.v.results, meta.Sequence.Consumer, r.delivered)
	}
	h := m.Headers()
	name, ok := output.StreamOf(m.Subject(), h)
	if ok && name == r.me.Stream && !output.Foreign(m.Subject(), h) {
		at, err := output.ReadPlace(h)
		if err != nil {
			return fmt.Errorf("result %d of %s: %w", meta.Sequence.Stream, r.v.results, err)
		}
		if len(r.cuts) == 0 || at.Generation > r.cuts[len(r.cuts)-1].Generation {
			if err := r.startGeneration(ctx, at); err != nil {
				return err
			}
		}
		if r.trimmed {
			r.trimmed = false
			r.checkTrimmed(h)
		}
		if voidedBy(r.cuts, at) == (cut{}) {
			r.put(m.Data(), h, at)
		}
		r.taken, r.place = meta.Sequence.Stream, placeOf(h)
	}
	if len(r.incoming) == 0 || len(r.order) >= batchRowsMax {
		if err := r.flush(ctx); err != nil {
			return err
		}
		r.v.note(func(i *Info) { i.Lag = meta.NumPending + uint64(len(r.incoming)) })
	}
	if r.record.Filling && (meta.NumPending == 0 || meta.Sequence.Stream >= r.record.FillEnd) {
		return r.complete(ctx)
	}
	return nil
}

// checkTrimmed reports whether results of the view were trimmed before it had read them.
func (r *reading) checkTrimmed(h nats.Header) {
	if p, err := output.ParsePrevious(h.Get(output.HeaderPrevious)); err != nil || p.Same.String() == r.place {
		return
	}
	r.v.note(func(i *Info) { i.Trimmed++ })
	r.v.log(slog.LevelWarn, "results were trimmed before the view had read them; their keys keep older rows", "after", r.place, "before", placeOf(h))
}

// startGeneration notes that a generation starts. If the bucket has values that it voids, the bucket is
// filled again.
func (r *reading) startGeneration(ctx context.Context, at result.Position) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	first := len(r.cuts) == 0
	starts, err := r.starts(ctx, at)
	if err != nil {
		return err
	}
	for _, start := range starts {
		r.cuts = append(r.cuts, start)
		r.record.Cuts = append(r.record.Cuts, start.String())
	}
	if first && !r.record.Filling {
		return nil // nothing was read before
	}
	void := false
	err = r.entries(ctx, func(_ string, e entry) error {
		void = void || r.void(&e)
		return nil
	})
	if err != nil || !void {
		return err
	}
	r.v.log(slog.LevelInfo, "a new generation of results voids values of a view; it is filled again", "generation", at.Generation, "from", at.String())
	return r.refill(ctx)
}

// starts returns the first result of each generation since the last one. at is the first result that
// is left of its generation; earlier ones may have been removed on purpose.
func (r *reading) starts(ctx context.Context, at result.Position) (starts []cut, err error) {
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all, err := output.ReadCompactions(ask, r.v.js, r.v.results)
	if err != nil {
		return nil, err
	}
	for _, start := range all[r.me.Stream].Starts {
		if start.Generation <= at.Generation && (len(r.cuts) == 0 || start.Generation > r.cuts[len(r.cuts)-1].Generation) {
			starts = append(starts, start)
		}
	}
	if len(starts) == 0 || starts[len(starts)-1].Generation < at.Generation {
		starts = append(starts, at)
	}
	return starts, nil
}

// refill has the next reading start with the first result.
func (r *reading) refill(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	results, err := r.v.js.Stream(ask, r.v.results)
	if err != nil {
		return fmt.Errorf("output stream %s: %w", r.v.results, err)
	}
	r.record.Sequence, r.record.Place, r.record.Filling, r.record.FillEnd = 0, "", true, results.CachedInfo().State.LastSeq
	if err := r.v.saveRecord(ctx, &r.record); err != nil {
		return err
	}
	return errFill
}

// quiet is called when nothing came for a moment.
func (r *reading) quiet(ctx context.Context) error {
	if err := r.flush(ctx); err != nil || !r.record.Filling {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := r.consumer.Info(ask)
	if err != nil {
		return fmt.Errorf("consumer of output stream %s: %w", r.v.results, err)
	}
	if info.NumPending > 0 || info.Delivered.Consumer != r.delivered {
		return nil
	}
	return r.complete(ctx)
}

// complete ends a fill.
func (r *reading) complete(ctx context.Context) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	if err := r.sweep(ctx); err != nil {
		return err
	}
	r.record.Filling, r.record.FillEnd = false, 0
	r.v.filled, r.v.took = time.Now(), time.Since(r.begun)
	r.v.report(Following, nil)
	return r.beat(ctx)
}

// beat looks at the bucket, and writes the record.
func (r *reading) beat(ctx context.Context) error {
	r.beaten = time.Now()
	if err := r.flush(ctx); err != nil {
		return err
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if r.changed() {
		if err := r.v.saveRecord(ctx, &r.record); err != nil {
			r.v.report(r.v.Info().State, r.v.explained(fmt.Errorf("the record of the view cannot be written, so the next start fills the bucket again: %w", err)))
			return nil
		}
		r.saved = r.record
	}
	return nil
}

func (r *reading) changed() bool {
	return r.saved.Sequence != r.record.Sequence || r.saved.Filling != r.record.Filling || r.saved.Known != r.record.Known || len(r.saved.Cuts) != len(r.record.Cuts)
}

// leave writes the record when the task ends.
func (r *reading) leave(ctx context.Context) {
	if !r.changed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.v.saveRecord(ctx, &r.record) // the record of the last beat is true as well
}
