package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eventflux/shared/bus"
	"eventflux/shared/checkpoint"
	"eventflux/shared/siddhiql"
)

// fence is the content of a fence message: who took over, and the position of the
// newest result on each subject at that time. Positions are kept here too so that
// they survive where an operator has purged results.
type fence struct {
	Owner     string            `json:"owner"`
	Plan      string            `json:"plan"` // digest of the app
	Positions map[string]string `json:"positions"`
	// Generation is that of the positions.
	Generation checkpoint.Generation `json:"generation"`
}

// takeOver shuts out former owners of a partition's output stream. It returns the
// position of the newest result of the generation on each stream of the plan, and an
// emitter that goes on behind the fence.
func (t *task) takeOver(ctx context.Context) ([]position, *emitter, error) {
	stream := bus.OutStream(t.plan.Name, t.partition)
	for {
		end, err := lastSequence(ctx, t.nc, stream)
		if err != nil {
			return nil, nil, fmt.Errorf("end of output stream %s: %w", stream, err)
		}
		last, err := t.positions(ctx, stream)
		if err != nil {
			return nil, nil, err
		}
		err = t.publishFence(ctx, end, last)
		if hasCode(err, codeWrongLastSequence, codeWrongLastSequenceConstant) {
			continue // somebody still writes: read again what they wrote
		}
		if err != nil {
			return nil, nil, fmt.Errorf("fence output stream %s: %w", stream, err)
		}
		emit := newEmitter(t.nc, stream, end+1, t.generation, t.service.cfg.BatchMessagesMax, t.log)
		emit.took = t.service.emitted.WithLabelValues(t.plan.Name, decimal(t.partition))
		emit.refused = t.service.refused.WithLabelValues(refusedResults)
		return last, emit, nil
	}
}

func (t *task) publishFence(ctx context.Context, last uint64, positions []position) error {
	f := fence{Owner: t.owner, Plan: t.plan.Digest, Positions: map[string]string{}, Generation: t.generation}
	for s, p := range positions {
		if p.seq > 0 {
			f.Positions[t.plan.Streams[s].Name] = p.String()
		}
	}
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	msg := &nats.Msg{
		Subject: bus.FenceSubject(t.plan.Name, t.partition), Data: data,
		Header: nats.Header{jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(last, 10)}},
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	answer, err := t.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return err
	}
	return ackError(answer.Data)
}

// positions reads the position of the newest result of the task's generation on each
// stream, and notes in t.newest the log sequence of the newest of any.
func (t *task) positions(ctx context.Context, stream string) ([]position, error) {
	last := make([]position, len(t.plan.Streams))
	fenced, err := lastMessage(ctx, t.nc, stream, bus.FenceSubject(t.plan.Name, t.partition))
	if err != nil {
		return nil, fmt.Errorf("last fence of output stream %s: %w", stream, err)
	}
	var f fence
	if fenced.seq > 0 {
		if err := json.Unmarshal(fenced.data, &f); err != nil {
			return nil, fmt.Errorf("fence %d of output stream %s: %w", fenced.seq, stream, err)
		}
	}
	// Another text gives other results, and the log is replayed from its beginning:
	// they would get the positions of results that are out already.
	if f.Plan != "" && f.Plan != t.plan.Digest {
		return nil, fmt.Errorf("app %q has changed since its log was begun: its results would not follow those in %s; run the former text, or deploy the changed one under another @app:name", t.plan.Name, stream)
	}
	if f.Generation > t.generation {
		return nil, fmt.Errorf("%w: fence %d of output stream %s is of generation %d, this task's is %d", errFenced, fenced.seq, stream, f.Generation, t.generation)
	}
	t.newest = 0
	out := outEnd{of: make([]position, len(t.plan.Streams))}
	for _, s := range published(t.plan) {
		at, generation, err := t.newestResult(ctx, stream, s)
		if err != nil {
			return nil, err
		}
		t.newest = max(t.newest, at.seq)
		out.add(s.ID, at, generation)
		if generation < t.generation {
			at = position{}
		}
		if f.Generation < t.generation {
			last[s.ID] = at
			continue
		}
		if text := f.Positions[s.Name]; text != "" {
			before, err := parsePosition(text)
			if err != nil {
				return nil, fmt.Errorf("fence %d of output stream %s: %w", fenced.seq, stream, err)
			}
			if before.after(at) {
				at = before
			}
		}
		last[s.ID] = at
	}
	t.out = out
	return last, nil
}

// outEnd is how far results are out, as the newest generation that has some put them out:
// frame after frame, and within one in the order of each stream alone.
type outEnd struct {
	generation checkpoint.Generation
	seq        uint64     // of the last frame of which a result is out; 0: it is not known
	of         []position // by stream: of its newest result of that generation
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

// before returns end, or the place of the first result of a stream that is not out, if that
// comes earlier.
func (o *outEnd) before(stream int, end position) position {
	if o.seq == 0 {
		return end
	}
	next := position{seq: o.seq}
	if at := o.of[stream]; at.seq == o.seq {
		next.ordinal = at.ordinal + 1
	}
	if end.after(next) {
		return next
	}
	return end
}

// newestResult returns the position and the generation of the newest result of s in the
// output stream.
func (t *task) newestResult(ctx context.Context, stream string, s *siddhiql.Stream) (position, checkpoint.Generation, error) {
	m, err := lastMessage(ctx, t.nc, stream, bus.OutSubject(t.plan.Name, s.Name, t.partition))
	if err != nil {
		return position{}, 0, fmt.Errorf("last result of %s in output stream %s: %w", s.Name, stream, err)
	}
	if m.seq == 0 {
		return position{}, t.generation, nil
	}
	at, err := parsePosition(m.header.Get(headerPosition))
	if err != nil {
		return position{}, 0, fmt.Errorf("result %d of output stream %s: header %s: %w", m.seq, stream, headerPosition, err)
	}
	generation, err := strconv.ParseUint(m.header.Get(headerGeneration), 10, 64)
	if err != nil {
		return position{}, 0, fmt.Errorf("result %d of output stream %s: header %s: %w", m.seq, stream, headerGeneration, err)
	}
	return at, checkpoint.Generation(generation), nil
}

// published returns the streams whose rows go to the output stream.
func published(plan *siddhiql.Plan) []*siddhiql.Stream {
	var streams []*siddhiql.Stream
	seen := make([]bool, len(plan.Streams))
	for _, q := range plan.Queries {
		if s := q.Target; s.Block < 0 && !s.Sink.Off && !seen[s.ID] {
			seen[s.ID] = true
			streams = append(streams, s)
		}
	}
	return streams
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
