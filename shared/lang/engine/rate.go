package engine

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/ratelimit"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// rate is the compiled output rate of a query. Between open and close it has the rows that
// selection lets through; then the limiter of the memory gets them.
type rate struct {
	config ratelimit.Config
	out    ratelimit.Rows // of the query, while selection writes to rows
	rows   ratelimit.Rows
	limits work // before the rows were counted

	chunk   []ratelimit.Row
	keys    []byte // groups of the rows, end to end
	ends    []int
	came    []int64 // of a snapshot, like dropped
	dropped []bool
}

func newRate(q *query) *rate {
	p := q.plan.Rate
	if p == nil {
		return nil
	}
	r := &rate{rows: ratelimit.Rows{B: event.NewBatch(q.plan.Output)}}
	r.config = ratelimit.Config{
		Env: &q.e.env, Schema: q.plan.Output, Which: p.Which, Events: p.Events, Period: p.Period,
		Grouped: len(q.plan.GroupBy) > 0 && p.Which != ratelimit.All,
		Leaving: q.plan.RowsLeave() || q.plan.Window != nil,
		Totals:  p.Totals, Names: p.Names, Undated: q.plan.Join != nil,
	}
	return r
}

// limiter is what a memory holds back, as a unit.
type limiter struct {
	ratelimit.Limiter
	s *memory
}

// Due implements unit. Partition keys take turns in the order of their arrival.
func (l limiter) Due() (at int64, seq uint64, ok bool) {
	at, ok = l.Limiter.Due()
	if l.s.home != nil {
		seq = l.s.home.place
	}
	return at, seq, ok
}

// limit gives the memory its limiter. The periods of a new partition key start now.
func (s *memory) limit(r *rate) {
	if s.more == nil {
		s.more = &more{}
	}
	l := limiter{ratelimit.New(r.config), s}
	s.more.units[rates] = l
	if now := s.q.e.env.Now; s.home != nil && now != window.NoTime {
		l.Begin(now)
	}
}

// open starts a chunk of output rows, and returns the number of the first.
func (s *memory) open() int {
	q := s.q
	r := q.rate
	if r == nil {
		return q.out.Len()
	}
	r.out = ratelimit.Rows{B: q.out, Kinds: q.kinds}
	r.rows.B.Reset()
	q.out, q.kinds = r.rows.B, shrink.Reset(r.rows.Kinds)
	r.keys, r.ends, r.came, r.dropped = shrink.Reset(r.keys), shrink.Reset(r.ends), shrink.Reset(r.came), shrink.Reset(r.dropped)
	r.limits = q.e.work
	return 0
}

// close ends the chunk that open started, and emits its rows, or what the output rate makes of
// them.
func (s *memory) close(from int) { s.put(s.gather(from)) }

// gather ends the chunk that open started, and returns the rows to emit.
func (s *memory) gather(from int) (first, end int) {
	if s.q.rate != nil {
		from = s.hold()
	}
	return from, s.q.out.Len()
}

// put emits rows of the query's output as one chunk; without rows there is no chunk.
func (s *memory) put(from, to int) {
	if to > from {
		s.q.e.emitted(s, from, to)
	}
	if s.q.rate != nil {
		s.reschedule(rates)
	}
}

// hold passes the rows since open to the limiter, and returns the number of the first row to
// emit.
func (s *memory) hold() int {
	q, r := s.q, s.q.rate
	r.rows = ratelimit.Rows{B: q.out, Kinds: q.kinds}
	q.out, q.kinds = r.out.B, r.out.Kinds
	q.e.work.rows, q.e.work.bytes = r.limits.rows, r.limits.bytes // rows count when they come out
	r.chunk = r.chunk[:0]
	start := 0
	for i, kind := range r.rows.Kinds {
		row := ratelimit.Row{B: r.rows.B, I: i, Kind: kind}
		if len(r.ends) > 0 {
			row.Group = r.keys[start:r.ends[i]]
			start = r.ends[i]
		}
		if len(r.dropped) > 0 {
			row.Came, row.Dropped = r.came[i], r.dropped[i]
		}
		r.chunk = append(r.chunk, row)
	}
	l := s.more.units[rates].(limiter)
	return s.putOut(func(out *ratelimit.Rows) { l.Add(r.chunk, out) })
}

// tick ends a period of the output rate. If nothing has waited since the timer was set, it does
// nothing: after a restart there is no such timer.
func (s *memory) tick() {
	q := s.q
	from := q.out.Len()
	l := s.more.units[rates].(limiter)
	if _, _, waits := l.Due(); !waits {
		return
	}
	s.putOut(l.Fire)
	if to := q.out.Len(); to > from {
		q.e.emitted(s, from, to)
	}
}

// putOut appends the rows that put adds to the query's output, and returns the number of the
// first.
func (s *memory) putOut(put func(out *ratelimit.Rows)) int {
	q := s.q
	from := q.out.Len()
	out := ratelimit.Rows{B: q.out, Kinds: q.kinds}
	put(&out)
	q.kinds = out.Kinds
	for i := from; i < q.out.Len(); i++ {
		q.chargeRow(q.out, i, 1)
	}
	return from
}

// typ names the output rate for its component: entries of another one do not fit.
func (r *rate) typ() string {
	period := "time"
	if r.config.Events > 0 {
		period = "events"
	}
	return "output/" + r.config.Which.String() + "-" + period
}

// record records the group of a row that selection yields.
func (r *rate) record(s *memory, slot int) {
	if r.config.Grouped {
		r.keys = s.groups.keys[slot].encode(r.keys)
		r.ends = append(r.ends, len(r.keys))
	}
}

// runSnapshot evaluates every row of a chunk, of either kind: a snapshot counts those too
// that having, limit and offset drop.
func (x *selector) runSnapshot(s *memory, rows []window.Row) {
	q := x.q
	x.stage.Reset()
	x.kinds, x.picked = shrink.Reset(x.kinds), shrink.Reset(x.picked)
	r := &q.e.row
	r.aggs = x.results
	first := len(q.rate.came)
	for i := range rows {
		in := &rows[i]
		if in.Kind == window.Reset {
			s.reset()
			continue
		}
		r.at(in, q.e.env.Now)
		slot := x.aggregate(s, r, in.Kind, true)
		x.write(r, x.stage, in.TS)
		if q.having == nil || x.having(x.stage) {
			x.picked = append(x.picked, int32(x.stage.Len()-1))
		}
		x.kinds = append(x.kinds, in.Kind)
		q.rate.record(s, slot)
		q.rate.came = append(q.rate.came, in.B.TS[in.I])
		q.rate.dropped = append(q.rate.dropped, true)
	}
	s.endChunk()
	x.sort()
	x.endChunk()
	for _, i := range x.picked {
		q.rate.dropped[first+int(i)] = false
	}
	q.out.AppendRows(x.stage, 0, x.stage.Len())
	q.kinds = append(q.kinds, x.kinds...)
}

// beginRates starts the periods of time of the queries that have none yet, at ms.
func (e *Engine) beginRates(at int64) (some bool) {
	for _, q := range e.queries {
		if q.rate == nil {
			continue
		}
		q.each(func(s *memory) {
			if l := s.more.units[rates].(limiter); !l.Begun() {
				s.touch()
				l.Begin(at)
				some = true
			}
		})
	}
	return some
}

// rated reports whether the query's rows wait for a point in time.
func rated(p *siddhiql.Query) bool {
	return p.Rate != nil && p.Rate.Period > 0 && p.Rate.Which != ratelimit.First
}
