package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// takeOver fences former owners of a partition's output stream. It records the position of
// the newest result of the generation on each result stream, and returns an emitter that
// continues after the fence.
//
// It writes two fences. The first one fences former owners, and copies the record of the
// fence before it, if there is one. Then takeOver reads the results after that record, whose
// number is bounded (recordEvery), and checks whether any are missing. The second fence has
// the record of all results.
func (t *task) takeOver(ctx context.Context) (*emitter, error) {
	stream := natsconn.OutStream(t.plan.Name, t.partition)
	former, fence, err := t.shutOut(ctx, stream)
	if err != nil {
		return nil, err
	}
	var record output.Record
	if known, ok, wrong := former.Record(); wrong != nil {
		err = fmt.Errorf("fence of output stream %s: %w", stream, wrong)
	} else if ok {
		record, err = t.readOn(ctx, stream, known, fence)
	} else {
		record, err = t.results().LookUp(ctx, t.nc, former, fence)
	}
	if err != nil {
		return nil, err
	}
	end, err := t.publishFence(ctx, output.NewFence(t.owner, t.made.first, t.generation, record), fence)
	if hasCode(err, codeWrongLastSequence, codeWrongLastSequenceConstant) {
		return nil, fmt.Errorf("fence output stream %s: %w", stream, errFenced)
	}
	if err != nil {
		return nil, fmt.Errorf("fence output stream %s: %w", stream, err)
	}
	emit := newEmitter(t.nc, stream, end, t.generation, t.service.cfg.BatchMessagesMax, t.log)
	emit.took = t.service.emitted.WithLabelValues(t.plan.Name, decimal(t.partition))
	emit.pace = &t.status.pace
	emit.refused = t.service.refused.WithLabelValues(refusedResults)
	for _, name := range slices.Sorted(maps.Keys(record.Newest)) {
		t.streams.number(name)
	}
	streams := t.streams.all()
	emit.newest, emit.any = make([]result.Position, len(streams)), record.Last
	t.last, t.mute = make([]position, len(streams)), position{}
	t.out, t.newest = outEnd{of: make([]position, len(streams))}, 0
	for s, name := range streams {
		at := record.Newest[name]
		emit.newest[s] = at
		t.newest = max(t.newest, at.Seq)
		t.out.add(s, position{at.Seq, at.Ordinal}, checkpoint.Generation(at.Generation))
		if at.Generation == uint64(t.generation) {
			t.last[s] = position{at.Seq, at.Ordinal}
		}
	}
	emit.fenced = natsconn.FenceSubject(t.plan.Name, t.partition)
	emit.fence = func(newest []result.Position, last result.Position, through uint64) ([]byte, error) {
		r := output.Record{Newest: map[string]result.Position{}, Last: last, Through: through}
		for s, name := range t.streams.all()[:len(newest)] {
			r.Newest[name] = newest[s]
		}
		return json.Marshal(output.NewFence(t.owner, t.made.first, t.generation, r))
	}
	t.recorded = record.Through
	return emit, nil
}

// shutOut writes a fence after the newest message. It returns the fence before it, and the
// sequence of its own.
func (t *task) shutOut(ctx context.Context, stream string) (former output.Fence, fence uint64, err error) {
	for {
		end, err := lastSequence(ctx, t.nc, stream)
		if err != nil {
			return former, 0, fmt.Errorf("end of output stream %s: %w", stream, err)
		}
		former, seq, err := t.lastFence(ctx, stream)
		if err != nil {
			return former, 0, err
		}
		known, ok, err := former.Record()
		if err != nil {
			return former, 0, fmt.Errorf("fence %d of output stream %s: %w", seq, stream, err)
		}
		next := output.NewFence(t.owner, t.made.first, t.generation, known)
		if !ok {
			next = output.Fence{Owner: t.owner, Plan: t.made.first, Generation: t.generation, Positions: former.Positions}
			if former.Generation != t.generation {
				next.Positions = map[string]string{}
			}
		}
		fence, err := t.publishFence(ctx, next, end)
		if hasCode(err, codeWrongLastSequence, codeWrongLastSequenceConstant) {
			continue // another task still writes: read again what it wrote
		}
		if err != nil {
			return former, 0, fmt.Errorf("fence output stream %s: %w", stream, err)
		}
		return former, fence, nil
	}
}

// results is the output stream of the task's partition.
func (t *task) results() output.Partition { return output.Of(t.plan, t.partition) }

// lastFence returns the newest fence and its sequence; 0 for none. It fails if this task
// may not follow it.
func (t *task) lastFence(ctx context.Context, stream string) (f output.Fence, seq uint64, err error) {
	if f, seq, err = t.results().Fence(ctx, t.nc); err != nil || seq == 0 {
		return f, 0, err
	}
	// Another text gives other results. A replay of the log from its start would give them the
	// positions of results that are already published.
	if f.Plan != "" && f.Plan != t.made.first {
		return f, 0, fmt.Errorf("app %q has changed since its log was started: its results would not continue those in %s; run the former text, or deploy the changed one under another @app:name", t.plan.Name, stream)
	}
	if f.Generation > t.generation {
		return f, 0, fmt.Errorf("%w: fence %d of output stream %s is of generation %d, this task's is %d", errFenced, seq, stream, f.Generation, t.generation)
	}
	return f, seq, nil
}

// publishFence writes a fence after sequence last and returns its own.
func (t *task) publishFence(ctx context.Context, f output.Fence, last uint64) (uint64, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	msg := &nats.Msg{
		Subject: natsconn.FenceSubject(t.plan.Name, t.partition), Data: data,
		Header: nats.Header{jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(last, 10)}},
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	answer, err := t.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	return last + 1, ackError(answer.Data)
}

// outEnd says how far results are published, by the newest generation that has published any:
// frame by frame, and within a frame only in the order of each stream.
type outEnd struct {
	generation checkpoint.Generation
	seq        uint64     // the last frame with a published result; 0: not known
	of         []position // by result stream: of its newest result of that generation
}

func (o *outEnd) add(stream int, at position, generation checkpoint.Generation) {
	if at.seq == 0 || generation < o.generation {
		return
	}
	if generation > o.generation {
		*o = outEnd{generation: generation, of: make([]position, len(o.of))}
	}
	o.seq, o.of[stream] = max(o.seq, at.seq), at
}

// before returns end, or the position of the first result of a stream that is not published,
// if that comes earlier.
func (o *outEnd) before(stream int, end position) position {
	if o.seq == 0 {
		return end
	}
	next := position{seq: o.seq}
	if stream < len(o.of) && o.of[stream].seq == o.seq { // a stream of a later version has none
		next.ordinal = o.of[stream].ordinal + 1
	}
	if end.after(next) {
		return next
	}
	return end
}

func parsePosition(text string) (position, error) {
	seq, ordinal, _ := strings.Cut(text, ".")
	s, err := strconv.ParseUint(seq, 10, 64)
	o, err2 := strconv.ParseUint(ordinal, 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return position{}, fmt.Errorf("position %q is not of the form sequence.ordinal: %w", text, err)
	}
	return position{s, o}, nil
}
