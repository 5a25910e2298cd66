package processor

import (
	"context"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// The limits of a packed message. It also ends with its frame, and before rows of another
// kind, because Ef-Kind applies to all of its rows.
const (
	packRowsMax  = 1000
	packBytesMax = 256 << 10
)

// renderer turns the rows that an engine has emitted into messages.
type renderer struct {
	plan     *siddhiql.Plan
	subjects []string    // by stream of the plan; "" where rows are not published, or have subjects of their own
	chosen   []*subjects // by stream of the plan; nil: the app has not chosen its subjects
	numbers  []int       // by stream of the plan: its number among result streams
	packs    []openPack  // by stream of the plan
	version  uint32      // of the app
	newest   []position  // by result stream: of the last message made, or before of the last result at the takeover
}

// openPack is a packed message that is being filled.
type openPack struct {
	lines []byte
	rows  int
	at    position
	kind  window.Kind
	ts    int64
}

// newRenderer returns a renderer that continues after the results at last, which has a
// position for each result stream.
func newRenderer(plan *siddhiql.Plan, partition uint32, streams *resultStreams, last []position) *renderer {
	r := &renderer{
		plan: plan, subjects: make([]string, len(plan.Streams)), chosen: make([]*subjects, len(plan.Streams)), numbers: make([]int, len(plan.Streams)), packs: make([]openPack, len(plan.Streams)),
		newest: slices.Clone(last),
	}
	for _, s := range plan.Published() {
		r.numbers[s.ID] = streams.number(s.Name)
		if t := s.Sink.Subject; t != nil {
			r.chosen[s.ID] = newSubjects(s, partition)
		} else {
			r.subjects[s.ID] = natsconn.OutSubject(plan.Name, s.Name, partition)
		}
	}
	return r
}

// emitted gives access to the rows that an engine emitted for a frame, under the current
// version of the app or under the version before that frame.
type emitted interface {
	Outputs() []engine.Output
	Rows(query int) (*event.Batch, []window.Kind)
}

// render puts the rows that an engine emitted for a frame into the outbox. The first row is
// at position at, which render moves past the last row. It skips rows that are published already.
// It returns the number of rows it has put, and false if the outbox has closed.
func (r *renderer) render(ctx context.Context, box *outbox, e emitted, at *position, had *published) (int, bool) {
	outputs := e.Outputs()
	passed := 0
	for len(outputs) > 0 {
		open := box.fill(ctx, func(p *messageBatch) {
			for len(outputs) > 0 && !p.full() {
				passed += r.chunk(p, e, outputs[0], *at, had)
				at.ordinal += uint64(outputs[0].To - outputs[0].From)
				outputs = outputs[1:]
			}
			if len(outputs) == 0 {
				r.closePacks(p)
			}
		})
		if !open {
			return passed, false
		}
	}
	return passed, true
}

// renderInto is render with a batch without limits.
func (r *renderer) renderInto(p *messageBatch, e emitted, at *position, had *published) {
	for _, o := range e.Outputs() {
		r.chunk(p, e, o, *at, had)
		at.ordinal += uint64(o.To - o.From)
	}
	r.closePacks(p)
}

// chunk appends the rows of one chunk. The first row is at position at.
func (r *renderer) chunk(p *messageBatch, e emitted, o engine.Output, at position, had *published) int {
	target := r.plan.Queries[o.Query].Target
	chosen := r.chosen[target.ID]
	if r.subjects[target.ID] == "" && chosen == nil {
		return 0
	}
	rows, kinds := e.Rows(int(o.Query))
	number, passed := r.numbers[target.ID], 0
	for i := int(o.From); i < int(o.To); i++ {
		if !had.has(number, at) {
			passed++
			if target.Sink.Packed {
				r.pack(p, target.ID, rows, i, kinds[i], at)
			} else {
				start := len(p.bytes)
				format := ""
				if f := target.Sink.Format; f != nil {
					p.bytes, format = f.Writer.Append(p.bytes, rows, i), f.ContentType
				} else {
					p.bytes = rowjson.AppendObject(p.bytes, rows, i)
				}
				m := message{
					subject: r.subjects[target.ID], stream: number, start: start, end: len(p.bytes),
					at: at, kind: kinds[i], ts: rows.TS[i], version: r.version, format: format,
				}
				if chosen != nil {
					m.subject, m.of = chosen.of(rows, i), target.Name
				}
				p.messages = append(p.messages, m)
				r.newest[number] = at
			}
		}
		at.ordinal++
	}
	return passed
}

func (r *renderer) pack(p *messageBatch, stream int, rows *event.Batch, i int, kind window.Kind, at position) {
	open := &r.packs[stream]
	if open.rows > 0 && open.kind != kind {
		r.closePack(p, stream)
	}
	before := len(open.lines)
	open.lines = append(rowjson.AppendObject(open.lines, rows, i), '\n')
	if open.rows > 0 && len(open.lines) > packBytesMax { // the row goes into the next one
		all := open.lines
		open.lines = all[:before]
		r.closePack(p, stream)
		open.lines = append(open.lines, all[before:]...)
	}
	open.rows++
	open.at, open.kind, open.ts = at, kind, rows.TS[i]
	if open.rows == packRowsMax || len(open.lines) >= packBytesMax {
		r.closePack(p, stream)
	}
}

func (r *renderer) closePack(p *messageBatch, stream int) {
	open := &r.packs[stream]
	start := len(p.bytes)
	p.bytes = append(p.bytes, open.lines...)
	m := message{
		subject: r.subjects[stream], stream: r.numbers[stream], start: start, end: len(p.bytes),
		at: open.at, kind: open.kind, ts: open.ts, version: r.version,
	}
	if chosen := r.chosen[stream]; chosen != nil {
		m.subject, m.of = chosen.of(nil, 0), r.plan.Streams[stream].Name
	}
	p.messages = append(p.messages, m)
	r.newest[r.numbers[stream]] = open.at
	open.lines, open.rows = open.lines[:0], 0
}

// closePacks ends all packed messages, stream by stream.
func (r *renderer) closePacks(p *messageBatch) {
	for s := range r.packs {
		if r.packs[s].rows > 0 {
			r.closePack(p, s)
		}
	}
}
