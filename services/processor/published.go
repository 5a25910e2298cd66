package processor

import (
	"math"

	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// published is the filter for results that must not be published again: those that are in the
// output stream already, and those of frames before the start of the generation, which an
// earlier generation has published. It knows what the output stream had when the task took the
// partition over. A standby does not know it yet, so it filters only what lies before the start.
type published struct {
	last   []position // by result stream, since packed rows are sent later than others: results up to here are filtered
	until  position   // results before it are filtered, as far as end allows; zero: none
	end    outEnd     // at the takeover; zero for a standby
	newest uint64     // log sequence of the newest result of any generation
}

// publishedOf returns the filter for a generation, after a takeover that has found the results of
// record. streams has the result streams by their numbers.
func publishedOf(generation checkpoint.Generation, record output.Record, streams []string) published {
	p := published{last: make([]position, len(streams)), end: outEnd{of: make([]position, len(streams))}}
	for s, name := range streams {
		at := record.Newest[name]
		p.newest = max(p.newest, at.Seq)
		p.end.add(s, position{at.Seq, at.Ordinal}, checkpoint.Generation(at.Generation))
		if at.Generation == uint64(generation) {
			p.last[s] = position{at.Seq, at.Ordinal}
		}
	}
	return p
}

// has reports whether the result of a stream at a position is filtered.
func (p *published) has(stream int, at position) bool { return !at.after(p.last[stream]) }

// lastOf returns the newest position of a stream that is filtered; zero for none.
func (p *published) lastOf(stream int) position {
	if stream < len(p.last) {
		return p.last[stream]
	}
	return position{}
}

// grow makes the filter one for that many result streams.
func (p *published) grow(streams int) {
	for s := len(p.last); s < streams; s++ {
		p.last = append(p.last, position{})
		if p.until.seq > 0 {
			p.filterStream(s)
		}
	}
}

// filterUntil filters results before a position, as far as they are published: the former
// generation may not have reached that position.
func (p *published) filterUntil(until position) {
	p.until = until
	for s := range p.last {
		p.filterStream(s)
	}
}

// filterStart filters the results of frames before the start of the generation.
func (p *published) filterStart(start checkpoint.Start) {
	if start.Event == 0 { // whole frames
		p.filterUntil(position{seq: start.Sequence + 1})
	} else {
		p.filterUntil(position{seq: start.Sequence})
	}
}

func (p *published) filterStream(s int) {
	end := p.end.before(s, p.until)
	// A result is at end or later if it is later than the position just before end.
	before := position{seq: end.seq - 1, ordinal: math.MaxUint64}
	if end.ordinal > 0 {
		before = position{end.seq, end.ordinal - 1}
	}
	if before.after(p.last[s]) {
		p.last[s] = before
	}
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
