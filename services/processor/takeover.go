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

// fencer fences former owners of a partition's output stream, and finds what they have
// published. Other tasks may write to the stream until takeOver returns.
type fencer struct {
	*task
	generation checkpoint.Generation
	recorded   uint64 // last sequence of the output stream in the record at the takeover
}

// takeOver fences former owners of a partition's output stream. It records the position of
// the newest result of the generation on each result stream, and returns an emitter that
// continues after the fence, and the filter for what is published.
//
// It writes two fences. The first one fences former owners, and copies the record of the
// fence before it, if there is one. Then takeOver reads the results after that record, whose
// number is bounded (recordEvery), and checks whether any are missing. The second fence has
// the record of all results.
func (fe *fencer) takeOver(ctx context.Context) (*emitter, published, error) {
	stream := natsconn.OutStream(fe.plan.Name, fe.partition)
	former, fence, err := fe.shutOut(ctx, stream)
	if err != nil {
		return nil, published{}, err
	}
	var record output.Record
	if known, ok, wrong := former.Record(); wrong != nil {
		err = fmt.Errorf("fence of output stream %s: %w", stream, wrong)
	} else if ok {
		record, err = fe.readOn(ctx, stream, known, fence)
	} else {
		record, err = fe.results().LookUp(ctx, fe.nc, former, fence)
	}
	if err != nil {
		return nil, published{}, err
	}
	end, err := fe.publishFence(ctx, output.NewFence(fe.name, fe.made.first, fe.generation, record), fence)
	if hasCode(err, codeWrongLastSequence, codeWrongLastSequenceConstant) {
		return nil, published{}, fmt.Errorf("fence output stream %s: %w", stream, errFenced)
	}
	if err != nil {
		return nil, published{}, fmt.Errorf("fence output stream %s: %w", stream, err)
	}
	emit := newEmitter(fe.nc, stream, end, fe.generation, fe.service.cfg.BatchMessagesMax, fe.log)
	emit.took = fe.service.emitted.WithLabelValues(fe.plan.Name, decimal(fe.partition))
	emit.pace = &fe.status.pace
	emit.refused = fe.service.refused.WithLabelValues(refusedResults)
	for _, name := range slices.Sorted(maps.Keys(record.Newest)) {
		fe.streams.number(name)
	}
	streams := fe.streams.all()
	emit.newest, emit.any = make([]result.Position, len(streams)), record.Last
	for s, name := range streams {
		emit.newest[s] = record.Newest[name]
	}
	emit.fenced = natsconn.FenceSubject(fe.plan.Name, fe.partition)
	emit.fence = func(newest []result.Position, last result.Position, through uint64) ([]byte, error) {
		r := output.Record{Newest: map[string]result.Position{}, Last: last, Through: through}
		for s, name := range fe.streams.all()[:len(newest)] {
			r.Newest[name] = newest[s]
		}
		return json.Marshal(output.NewFence(fe.name, fe.made.first, fe.generation, r))
	}
	fe.recorded = record.Through
	return emit, publishedOf(fe.generation, record, streams), nil
}

// shutOut writes a fence after the newest message. It returns the fence before it, and the
// sequence of its own.
func (fe *fencer) shutOut(ctx context.Context, stream string) (former output.Fence, fence uint64, err error) {
	for {
		end, err := lastSequence(ctx, fe.nc, stream)
		if err != nil {
			return former, 0, fmt.Errorf("end of output stream %s: %w", stream, err)
		}
		former, seq, err := fe.lastFence(ctx, stream)
		if err != nil {
			return former, 0, err
		}
		known, ok, err := former.Record()
		if err != nil {
			return former, 0, fmt.Errorf("fence %d of output stream %s: %w", seq, stream, err)
		}
		next := output.NewFence(fe.name, fe.made.first, fe.generation, known)
		if !ok {
			next = output.Fence{Owner: fe.name, Plan: fe.made.first, Generation: fe.generation, Positions: former.Positions}
			if former.Generation != fe.generation {
				next.Positions = map[string]string{}
			}
		}
		fence, err := fe.publishFence(ctx, next, end)
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
func (fe *fencer) results() output.Partition { return output.Of(fe.plan, fe.partition) }

// lastFence returns the newest fence and its sequence; 0 for none. It fails if this task
// may not follow it.
func (fe *fencer) lastFence(ctx context.Context, stream string) (f output.Fence, seq uint64, err error) {
	if f, seq, err = fe.results().Fence(ctx, fe.nc); err != nil || seq == 0 {
		return f, 0, err
	}
	// Another text gives other results. A replay of the log from its start would give them the
	// positions of results that are already published.
	if f.Plan != "" && f.Plan != fe.made.first {
		return f, 0, fmt.Errorf("app %q has changed since its log was started: its results would not continue those in %s; run the former text, or deploy the changed one under another @app:name", fe.plan.Name, stream)
	}
	if f.Generation > fe.generation {
		return f, 0, fmt.Errorf("%w: fence %d of output stream %s is of generation %d, this task's is %d", errFenced, seq, stream, f.Generation, fe.generation)
	}
	return f, seq, nil
}

// publishFence writes a fence after sequence last and returns its own.
func (fe *fencer) publishFence(ctx context.Context, f output.Fence, last uint64) (uint64, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	msg := &nats.Msg{
		Subject: natsconn.FenceSubject(fe.plan.Name, fe.partition), Data: data,
		Header: nats.Header{jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(last, 10)}},
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	answer, err := fe.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	return last + 1, ackError(answer.Data)
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
