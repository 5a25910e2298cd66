package siddhiql

import "fmt"

func (bd *build) warnf(pos Pos, format string, args ...any) {
	if len(bd.plan.Warnings) < errorsMax {
		bd.plan.Warnings = append(bd.plan.Warnings, &Error{Pos: pos, Msg: fmt.Sprintf(format, args...)})
	}
}

// warnings warns of patterns that can keep partial matches forever, that match once,
// and of clauses that do nothing.
func (pc *patternChecker) warnings(in *PatternInput, d *QueryDef, n *patternNames) {
	p := n.plan
	switch {
	case len(p.Groups) > 0 && p.Groups[0].First == 0:
	case p.Sequence:
		pc.warnf(in.Pos, "without `every` the sequence is tried once, with the first event of its streams: write `every` before its first step to try it again")
	case p.Within >= 0:
		pc.warnf(in.Pos, "without `every` the pattern starts once: if that match is not over `within %s`, nothing matches any more; write `every` before its first step to start again", durationText(p.Within))
	default:
		pc.warnf(in.Pos, "without `every` the pattern starts once, with the first event that fits: write `every` before its first step to start again")
	}
	if !p.Sequence {
		pc.warnGrowth(in, n)
	}
	if len(d.OrderBy) > 0 || d.Limit != nil || d.Offset != nil {
		pc.warnf(d.Pos, "`order by`, `limit` and `offset` see one row of a pattern at a time: each match is a chunk of its own")
	}
	if d.Events == ExpiredEvents {
		pc.warnf(d.Pos, "`insert expired events` of a pattern never inserts a row: a match does not expire")
	}
}

// warnGrowth warns of an `every` whose matches wait for a step after it.
func (pc *patternChecker) warnGrowth(in *PatternInput, n *patternNames) {
	p := n.plan
	g := 0
	for _, e := range in.Elems {
		if !e.Every {
			continue
		}
		group := p.Groups[g]
		g++
		again := g < len(p.Groups) && group.First == 0
		next := group.Last + 1
		if p.Within < 0 && !again {
			next = p.endless(next)
		}
		switch {
		case next == len(p.Steps):
		case p.Within < 0:
			pc.warnf(e.Pos, "the query keeps a match for every %s until %s comes, perhaps for ever: add `within` and a time after the last step, such as `within 10 min`",
				tick(p.Steps[group.Last].Text), tick(p.Steps[next].Text))
		case again:
			pc.warnf(e.Pos, "a match stays for all of `within %s`, as %s matches again and again: each event of it gives a row with every match that is open",
				durationText(p.Within), tick(p.Steps[p.Groups[g].First].Text))
		}
	}
}

// endless returns the first step from one on that a match may wait for forever, or the number
// of steps. The wait of a `not … for` is over after its time, whatever comes.
func (p *Pattern) endless(s int) int {
	for ; s < len(p.Steps); s++ {
		for _, i := range p.Steps[s].Items {
			if p.Items[i].For < 0 {
				return s
			}
		}
	}
	return s
}
