package recovery

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
)

const (
	itemsDefault = 1000
	// answerShare is the share of a NATS message's maximum size that items may use; the
	// rest of the answer is small.
	answerShare = 0.8
)

// state answers VerbState. It does not affect the live task. If a checkpoint is committed
// while it works, that may trim the log that it reads, or retire the checkpoint that it
// starts from. Then it plans again.
func (s *Service) state(ctx context.Context, r *StateRequest) (any, error) {
	const triesMax = 10
	for try := 1; ; try++ {
		c, err := s.newRestorePlan(ctx, &PlanRequest{App: r.App, Target: r.Target, Verify: VerifyNone, Look: true})
		var answer any
		if err == nil {
			answer, err = s.stateBy(ctx, c, r)
		}
		if err == nil || r.To != 0 {
			return answer, err
		}
		// A commit may have trimmed the log while the plan was made.
		var trimmed *wal.TrimmedError
		again := errors.As(err, &trimmed) && try < triesMax
		if !again && c != nil {
			now, asked := s.cfg.Control.App(ctx, control.AppRequest{App: r.App})
			again = asked == nil && now.Checkpoint != c.h.app.Checkpoint
		}
		if !again {
			return nil, err
		}
	}
}

// stateBy carries out the plan and reads the state.
func (s *Service) stateBy(ctx context.Context, c *restorePlan, r *StateRequest) (any, error) {
	partition, ids, err := c.scope.resolve(r.Component)
	if err != nil {
		return nil, err
	}
	if len(ids) != 1 {
		return nil, failure(control.CodeInvalid, "%s has the components %s; name one", r.Component, ids)
	}
	done, err := s.rebuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	e := &rebuildRun{workers: s.cfg.Workers, alone: partition >= 0, only: partition}
	tasks, err := c.carryOut(ctx, e)
	if err != nil {
		return nil, err
	}
	out := &State{App: r.App, Component: ids[0], Type: c.scope.info(ids[0]).Type, Checkpoint: c.from.epoch(), Partitions: []StatePartition{}}
	room := int(answerShare * float64(s.cfg.Conn.MaxPayload()))
	for p, t := range tasks {
		if t == nil {
			continue
		}
		part, err := show(t, ids[0], r, &room)
		if err != nil {
			return nil, err
		}
		part.Partition = uint32(p)
		out.Partitions = append(out.Partitions, *part)
	}
	return out, nil
}

// show lists the items of a component, up to the limit of the request and the room in the
// answer.
func show(t *rebuild.Task, id string, r *StateRequest, room *int) (*StatePartition, error) {
	entries, err := t.Entries(id)
	if err != nil {
		return nil, err
	}
	out := &StatePartition{At: t.Position(), Clock: t.Core.Clock(), Digest: state.DigestOf(entries), Entries: len(entries), Items: []Item{}}
	limit := itemsDefault
	if r.Limit > 0 {
		limit = r.Limit
	}
	err = eachItem(t, id, entries, func(i state.Item) {
		size := len(i.Key) + len(i.Value) + 32
		switch {
		case r.Key != "" && i.Key != r.Key:
		case len(out.Items) == limit || size > *room:
			out.More = true
		default:
			*room -= size
			out.Items = append(out.Items, Item{i.Key, i.Value})
		}
	})
	return out, err
}

// eachItem visits the items of a component. If the component cannot list them, it visits
// the entries in hexadecimal.
func eachItem(t *rebuild.Task, id string, entries []state.Entry, visit func(state.Item)) error {
	told, err := t.Items(id, visit)
	if told || err != nil {
		return err
	}
	for _, e := range entries {
		visit(rawItem(e))
	}
	return nil
}

const hexPrefix = "hex:"

func rawItem(e state.Entry) state.Item {
	value, err := json.Marshal(hexPrefix + hex.EncodeToString(e.Value))
	if err != nil {
		panic(fmt.Sprintf("recovery: a text has no JSON: %v", err))
	}
	return state.Item{Key: hexPrefix + hex.EncodeToString(e.Key), Entry: e.Key, Value: value}
}
