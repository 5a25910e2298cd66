package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// reasonMax bounds the reason for a skipped record in a manifest.
const reasonMax = 500

// planSkip plans a restore that skips records. The app must be unable to apply each of
// them, and able to apply the rest of the log. A frame that EventFlux wrote cannot be
// skipped because it is unreadable: later frames refer to it.
func (s *Service) planSkip(ctx context.Context, r *RestoreRequest) (*restorePlan, error) {
	if err := r.complete(); err != nil {
		return nil, err
	}
	if r.To > 0 || r.At != "" || len(r.Components) > 0 || r.After == AfterFork || r.KeepVersion {
		return nil, failure(control.CodeInvalid, "skip continues after the skipped records, with all state, and cannot be combined with a target, components, fork or keep_version")
	}
	h, err := s.look(ctx, r.App)
	if err != nil {
		return nil, err
	}
	skip, err := parseSkip(r.Skip, h.app.Partitions)
	if err != nil {
		return nil, err
	}
	c := &restorePlan{
		h: h, target: &target{text: "the records before " + strings.Join(r.Skip, ", ")},
		plan: &Plan{App: r.App, Verify: r.Verify, After: r.After},
	}
	c.plan.Target = c.target.text
	if c.scope, err = h.scope(nil, r.After); err != nil {
		return nil, err
	}
	for p := range h.logs {
		at := h.logs[p].last
		if list := skip[uint32(p)]; len(list) > 0 {
			at = list[0] - 1
		}
		c.target.places = append(c.target.places, rebuild.Position{Sequence: at})
	}
	for refs := h.refs; ; refs = c.others {
		from, others, err := c.choose(ctx, &target{places: c.target.places, text: c.target.text}, refs)
		if err != nil || from == nil {
			return c, err
		}
		c.others = others
		if from.manifest == nil {
			c.refuse(fmt.Sprintf("a restore loads a checkpoint, and app %s has none before the records", r.App), "eventflux checkpoint ls "+r.App)
			return c, nil
		}
		done, err := s.rebuilding(ctx)
		if err != nil {
			return nil, err
		}
		c.skipped, err = c.judge(ctx, from, skip)
		done()
		if errors.Is(err, checkpoint.ErrCorrupt) && c.plan.Refused == "" {
			c.passOver(from.epoch(), err.Error())
			continue
		}
		if err != nil || c.plan.Refused != "" {
			return c, err
		}
		return c, c.fill(ctx, refs)
	}
}

// parseSkip parses sequences such as "17" or, with the partition, "2/17". It returns them
// sorted, by partition.
func parseSkip(texts []string, partitions uint32) (map[uint32][]uint64, error) {
	skip := map[uint32][]uint64{}
	for _, text := range texts {
		partition, sequence, ok := strings.Cut(text, "/")
		if !ok {
			partition, sequence = "0", text
		}
		p, err := strconv.ParseUint(partition, 10, 32)
		seq, wrong := strconv.ParseUint(strings.TrimPrefix(sequence, rebuild.Prefix), 10, 64)
		switch {
		case err != nil || wrong != nil || seq == 0:
			return nil, failure(control.CodeInvalid, "skip %.40q is not a sequence of a log, such as 17, or 2/17 in partition 2", text)
		case p >= uint64(partitions):
			return nil, failure(control.CodeInvalid, "skip %.40q: the partitions are 0 to %d", text, partitions-1)
		case !ok && partitions > 1:
			return nil, failure(control.CodeInvalid, "skip %.40q: the app has %d partitions; name one of them, such as 0/%s", text, partitions, text)
		}
		skip[uint32(p)] = append(skip[uint32(p)], seq)
	}
	for p, list := range skip {
		slices.Sort(list)
		skip[p] = slices.Compact(list)
	}
	return skip, nil
}

// judge finds out why each record cannot be applied, and checks that the logs can be
// applied without them. Otherwise it refuses the plan.
func (c *restorePlan) judge(ctx context.Context, from *basis, skip map[uint32][]uint64) (map[uint32][]checkpoint.Skipped, error) {
	all := map[uint32][]checkpoint.Skipped{}
	for _, p := range slices.Sorted(maps.Keys(skip)) {
		for _, seq := range skip[p] {
			if seq > c.h.logs[p].last {
				c.refuse(fmt.Sprintf("the log of partition %d ends at %d, before record %d, which is to be skipped", p, c.h.logs[p].last, seq), "eventflux doctor")
				return nil, nil
			}
			one, err := c.h.try(ctx, from.skipping(all), p, seq)
			if err != nil || one == nil {
				return nil, c.judged(p, seq, err)
			}
			all[p] = append(all[p], *one)
		}
		if err := c.h.follows(ctx, from.skipping(all), p, slices.Contains(skip[p], c.h.deadly(p))); err != nil {
			return nil, c.judged(p, c.h.logs[p].last, err)
		}
	}
	return all, nil
}

// follows checks that a log can be applied to its end. After a frame that killed processes,
// it only reads the rest: another frame there may do the same.
func (h *history) follows(ctx context.Context, from *basis, p uint32, deadly bool) error {
	end := rebuild.Target{Position: rebuild.Position{Sequence: h.logs[p].last}}
	if !deadly {
		t, err := h.load(ctx, from, p, &rebuildRun{workers: h.s.cfg.Workers})
		if err != nil {
			return err
		}
		return h.replay(ctx, from, p, t, end, &rebuildRun{})
	}
	log, done, err := h.openLog(ctx, from, p, end.Sequence)
	if err != nil {
		return err
	}
	defer done()
	var at rebuild.Position
	if part := from.part(p); part != nil {
		at.Sequence = part.Log.Sequence
	}
	_, err = rebuild.Scan(ctx, log, h.plan, at, end)
	return err
}

// judged refuses the plan if a record can be applied (no error), or if another record
// cannot be applied (a RecordError). It returns other errors.
func (c *restorePlan) judged(p uint32, seq uint64, err error) error {
	app := c.h.plan.Name
	if err == nil {
		c.refuse(fmt.Sprintf("nothing is wrong with record %d of partition %d: the app can apply it", seq, p), "eventflux doctor")
		return nil
	}
	wrong, ok := errors.AsType[*rebuild.RecordError](err)
	if !ok {
		return err
	}
	c.refuse(fmt.Sprintf("record %d of partition %d cannot be applied either: %v. If EventFlux wrote a skipped record and it is unreadable, later records depend on it, and only a copy of the log helps",
		wrong.Sequence, p, wrong.Err), fmt.Sprintf("eventflux recover %s --skip … with %d/%d as well, if that is foreign too", app, p, wrong.Sequence))
	return nil
}

// try applies the log up to a record, and then the record itself. It returns nil if that
// works. It does not apply a frame that killed processes: that would kill this one too.
func (h *history) try(ctx context.Context, from *basis, p uint32, seq uint64) (*checkpoint.Skipped, error) {
	if d := h.death(p); d != nil && d.Sequence == seq {
		if !d.Quarantined() {
			return nil, failure(control.CodeInvalid, "%d of %d processes died while they applied record %d of partition %d, and the next one tries again; skip it once the partition is in quarantine: see eventflux app show %s",
				d.Count, control.QuarantineAfter, seq, p, h.plan.Name)
		}
		m, err := h.logs[p].stream.GetMsg(ctx, seq)
		if err != nil {
			return nil, fmt.Errorf("read record %d of partition %d: %w", seq, p, err)
		}
		return passedOver(seq, m.Data, fmt.Sprintf("%d processes died while they applied it", d.Count)), nil
	}
	t, err := h.load(ctx, from, p, &rebuildRun{workers: h.s.cfg.Workers})
	if err != nil {
		return nil, err
	}
	log, done, err := h.openLog(ctx, from, p, seq)
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := t.Replay(ctx, log, rebuild.Target{Position: rebuild.Position{Sequence: seq - 1}}, rebuild.Watch{}); err != nil {
		return nil, err
	}
	record, err := log.Next(ctx)
	if err != nil {
		return nil, err
	}
	wrong := t.Try(record)
	if wrong == nil {
		return nil, nil
	}
	return passedOver(seq, record.Data, wrong.Error()), nil
}

func passedOver(seq uint64, data []byte, reason string) *checkpoint.Skipped {
	if len(reason) > reasonMax {
		reason = reason[:reasonMax] + "…"
	}
	return &checkpoint.Skipped{Sequence: seq, SHA256: checkpoint.SHA256(data), Reason: strings.ToValidUTF8(reason, "�")}
}

// skipping returns a copy of the checkpoint that makes readers of its logs skip more records.
func (c *basis) skipping(skipped map[uint32][]checkpoint.Skipped) *basis {
	if len(skipped) == 0 || c.manifest == nil {
		return c
	}
	m := *c.manifest
	m.Partitions = slices.Clone(m.Partitions)
	for p, list := range skipped {
		part := &m.Partitions[p]
		part.Skipped = slices.Concat(part.Skipped, list)
	}
	return &basis{c.ref, &m}
}
