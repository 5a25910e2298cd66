package recovery

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
)

// target is a parsed Target.
type target struct {
	epoch  state.Epoch        // a checkpoint; 0: none
	timed  bool               // an instant
	time   int64              // ms
	places []rebuild.Position // by partition
	// results are set, by partition, if the target is the point after these results. Until
	// they are located, places name the first events of their frames.
	results []result.Position
	text    string
}

// latest is the text of a target at the ends of all logs.
const latest = "latest"

// parseTarget parses a target for an app with that many partitions.
func parseTarget(t Target, partitions uint32, now time.Time) (*target, error) {
	at := strings.TrimSpace(string(t.At))
	switch {
	case t.To > 0 && at != "":
		return nil, failure(control.CodeInvalid, "to %d and at %q: only one of them can be the target", t.To, at)
	case t.To > 0:
		return &target{epoch: t.To, text: fmt.Sprintf("checkpoint %d", t.To)}, nil
	case at == "":
		return &target{text: latest}, nil
	case strings.HasPrefix(at, rebuild.Prefix):
		return parsePositions(at, partitions)
	}
	if m, ok, err := parseResults(at, partitions); ok {
		return m, err
	}
	m := &target{timed: true}
	if ms, err := strconv.ParseInt(at, 10, 64); err == nil {
		m.time = ms
	} else if when, err := time.Parse(time.RFC3339Nano, at); err == nil {
		m.time = when.UnixMilli()
	} else {
		return nil, failure(control.CodeInvalid, "at %.60q is not an instant (ms, or RFC 3339 as %s), a position in the log (seq:17, seq:17.3) or the position of a result (17.0, 1:17.0)", at, now.UTC().Format(time.RFC3339))
	}
	m.text = fmt.Sprintf("instant %d (%s)", m.time, time.UnixMilli(m.time).UTC().Format(time.RFC3339Nano))
	if m.time > now.UnixMilli() {
		return nil, failure(control.CodeInvalid, "%s is in the future: it is %d now", m.text, now.UnixMilli())
	}
	return m, nil
}

func parsePositions(at string, partitions uint32) (*target, error) {
	m := &target{text: at}
	for one := range strings.SplitSeq(at, ",") {
		p, err := rebuild.ParsePosition(strings.TrimSpace(one))
		if err != nil {
			return nil, failure(control.CodeInvalid, "at %q: %v", at, err)
		}
		m.places = append(m.places, p)
	}
	if len(m.places) != int(partitions) {
		return nil, failure(control.CodeInvalid, "at %q names %d positions, and the app has %d partitions: name one for each, as in seq:17,9.3", at, len(m.places), partitions)
	}
	return m, nil
}

// parseResults parses positions of results in the format of Ef-Position, with or without
// the generation. It returns false if at is something else.
func parseResults(at string, partitions uint32) (*target, bool, error) {
	m := &target{text: "result " + at}
	for one := range strings.SplitSeq(at, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, ".") {
			return nil, false, nil
		}
		generation := uint64(0)
		if !strings.Contains(one, ":") {
			one = "1:" + one // Parse needs a generation
		} else {
			generation = 1
		}
		r, err := result.Parse(one)
		if err != nil {
			return nil, false, nil
		}
		r.Generation *= generation // 0: the current generation of the app
		m.results = append(m.results, r)
		m.places = append(m.places, rebuild.Position{Sequence: r.Seq, Event: 1})
	}
	if len(m.results) != int(partitions) {
		return nil, true, failure(control.CodeInvalid, "at %q names %d results, and the app has %d partitions: name one for each, as in 17.0,9.3", at, len(m.results), partitions)
	}
	return m, true, nil
}

// of returns the target of one partition. last is the end of its log.
func (m *target) of(p uint32, c *basis, last uint64) rebuild.Target {
	switch {
	case m.timed:
		return rebuild.Target{Timed: true, Time: m.time}
	case m.places != nil:
		return rebuild.Target{Position: m.places[p]}
	case m.epoch > 0:
		return rebuild.Target{Position: rebuild.Position{Sequence: c.barrier(p)}}
	}
	return rebuild.Target{Position: rebuild.Position{Sequence: last}}
}

// before reports whether a checkpoint is at or before the moment, and if not, why.
func (m *target) before(c *basis) (ok bool, why string) {
	for i := range c.manifest.Partitions {
		part := &c.manifest.Partitions[i]
		switch {
		case m.timed && part.Clock > m.time:
			return false, fmt.Sprintf("it is newer than the target: the clock of partition %d was at %d", i, part.Clock)
		case m.places != nil && (rebuild.Position{Sequence: part.Log.Sequence}).Compare(m.places[i]) > 0:
			return false, fmt.Sprintf("it is newer than the target: its barrier is at %d of partition %d", part.Log.Sequence, i)
		}
	}
	return true, ""
}

// nothing is a log without frames.
type nothing struct{}

func (nothing) Next(context.Context) (wal.Record, error) { return wal.Record{}, io.EOF }
