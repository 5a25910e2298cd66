package processor

import (
	"fmt"
	"slices"
	"time"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// measureEvery is how often the memory of the state is estimated while frames are applied.
// An estimate takes some ten microseconds: sources sample their content.
const measureEvery = 200 * time.Millisecond

// A task that was over its limit accepts events again when it is below it by one part in
// reliefShare. So publishers are not accepted and refused by turns.
const reliefShare = 20

// gauge estimates the memory that the state of a task takes, and compares it with the limit.
type gauge struct {
	*task
	measured time.Time // when it was estimated last
}

func (g *gauge) measureSoon(r *replica) {
	if time.Since(g.measured) >= measureEvery {
		g.measure(r)
	}
}

// measure estimates the memory that the state takes, and counts the partial matches.
func (g *gauge) measure(r *replica) {
	bytes := int64(0)
	if r.saver != nil {
		for _, h := range r.saver.holders {
			bytes += h.Bytes()
		}
	}
	g.sized(bytes, r.core.PartialMatches(), r.live)
}

// limit is a limit of what a task may hold.
type limit struct {
	holds, most int64 // most 0: there is none
	why         string
}

func (l *limit) exceeded() bool { return l.most > 0 && l.holds > l.most }
func (l *limit) kept() bool     { return l.most == 0 || l.holds <= l.most-l.most/reliefShare }

// sized records how large the state is. Above a limit, ingest refuses events for the partition. The
// task still applies the log, because the time that passes there may make the state smaller.
func (g *gauge) sized(bytes, matches int64, live *siddhiql.Plan) {
	g.measured = time.Now()
	g.status.bytes.Store(bytes)
	limits := []limit{g.bytesLimit(bytes, live), g.matchesLimit(matches)}
	over := g.status.over.Load() != nil
	if over && !slices.ContainsFunc(limits, func(l limit) bool { return !l.kept() }) {
		g.status.setOver("")
		g.log.Info("task is below its limits again and takes events", "bytes", bytes, "partial_matches", matches)
		return
	}
	if at := slices.IndexFunc(limits, func(l limit) bool { return l.exceeded() }); at >= 0 && !over {
		g.status.setOver(limits[at].why)
		g.log.Error("task is over its limit; its publishers get an error, and other tasks go on", "why", limits[at].why, "bytes", bytes, "partial_matches", matches)
	}
}

func (g *gauge) bytesLimit(bytes int64, live *siddhiql.Plan) limit {
	most := g.service.cfg.StateBytesMax
	why := fmt.Sprintf("its state takes more than %d bytes of memory (processor.state_bytes_max)", most)
	if live.Playback && live.Idle == 0 {
		why += "; without events its clock stands still, so that its windows get no smaller: raise the setting and restart the processor"
	}
	return limit{bytes, most, why}
}

// matchesLimit limits the partial matches. Events end most of them, also those older than their
// `within`: without events, only a higher limit helps, or another pattern.
func (g *gauge) matchesLimit(matches int64) limit {
	most := g.service.cfg.PartialMatchesMax
	return limit{matches, most, fmt.Sprintf("its patterns hold more than %d partial matches (limits.partial_matches_max): raise the setting and restart the processor, or upgrade the app to a pattern with a shorter `within`", most)}
}
