package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// each is the stream with one row per event or chunk. A row starts with the event's number.
var each = natsconn.OutSubject(restored, "PerSymbol", 0)

// history knows the origin of each generation of the app, and so what its results must be.
type history struct {
	c           *cluster
	t           *testing.T
	messages    []message
	events      []eventAt
	generations map[checkpoint.Generation]*origin
	replays     map[string]*replayed
	scribe      *scribe
	compared    int // number of results that the last check compared
}

// origin is how a generation was created.
type origin struct {
	ask   request
	from  checkpoint.Generation // generation of the checkpoint whose state was loaded
	start checkpoint.Start      // its results come after this position
	state map[string]line       // by subject: the events that the state has seen
}

// line lists the events that a state has seen, as ranges that include from and exclude to. The last
// range is open.
type line []piece

type piece struct{ from, to int }

// eventAt is the message of an event, and its row in that message.
type eventAt struct{ message, row int }

func newHistory(c *cluster, messages []message) *history {
	h := &history{
		c: c, t: c.t, messages: messages, generations: map[checkpoint.Generation]*origin{1: {}}, replays: map[string]*replayed{},
		scribe: newScribe(c),
	}
	for i, m := range messages {
		for row := range m.rows {
			h.events = append(h.events, eventAt{i, row})
		}
	}
	return h
}

func (h *history) generation() checkpoint.Generation {
	return checkpoint.Generation(len(h.generations))
}

// record records a generation that started from the state of a checkpoint.
func (h *history) record(g checkpoint.Generation, ask request, epoch state.Epoch) {
	h.t.Helper()
	var m *checkpoint.Manifest
	from := checkpoint.Generation(0)
	eventually(h.t, fmt.Sprintf("the first checkpoint of generation %d was seen", g), func() bool {
		m, from = h.scribe.beginning(g, epoch)
		return m != nil && from > 0
	})
	o := &origin{ask: ask, from: from, start: checkpoint.Start{Sequence: m.Partitions[0].Log.Sequence}}
	if m.Partitions[0].Start != nil {
		o.start = *m.Partitions[0].Start
	}
	h.generations[g] = o
}

// someCheckpoint returns a retained checkpoint and the sequence of its barrier.
func (h *history) someCheckpoint(rnd *rand.Rand) (epoch state.Epoch, barrier uint64) {
	h.t.Helper()
	eventually(h.t, "a checkpoint can be looked at", func() bool {
		list := h.scribe.retained()
		if len(list) == 0 {
			return false
		}
		// The oldest may be retired soon.
		epoch = list[rnd.IntN((len(list)+1)/2)].Epoch
		m, err := h.c.ctl.Checkpoint(h.c.within(patience), control.CheckpointRequest{App: restored, Epoch: epoch})
		if err != nil {
			return false
		}
		barrier = m.Partitions[0].Log.Sequence
		return true
	})
	return epoch, barrier
}

// oldestBarrier returns the lowest barrier of the checkpoints that were retained a moment ago.
func (h *history) oldestBarrier() uint64 {
	h.t.Helper()
	list := h.scribe.retained()
	oldest := uint64(0)
	for _, k := range list {
		m, err := h.c.ctl.Checkpoint(h.c.within(patience), control.CheckpointRequest{App: restored, Epoch: k.Epoch})
		if err == nil && (oldest == 0 || m.Partitions[0].Log.Sequence < oldest) {
			oldest = m.Partitions[0].Log.Sequence
		}
	}
	return oldest
}

// replayed is the result of replaying a line.
type replayed struct {
	rows   results
	lineOf map[int]int // number of the input line of each event of the last piece
}

// replay replays a line. Its answers are cached.
func (h *history) replay(l line) *replayed {
	h.t.Helper()
	key := fmt.Sprint(l)
	if r := h.replays[key]; r != nil {
		return r
	}
	r := &replayed{rows: results{}, lineOf: map[int]int{}}
	var text strings.Builder
	lines := 0
	for _, p := range l {
		clear(r.lineOf)
		chunk := -1 // the message whose chunk is written
		for id := p.from; id < min(p.to, len(h.events)); id++ {
			at := h.events[id]
			m := &h.messages[at.message]
			switch {
			case m.chunk && chunk == at.message:
			case m.chunk:
				chunk = at.message
				lines++
				rows := m.rows[at.row:min(len(m.rows), at.row+p.to-id)]
				fmt.Fprintf(&text, `{"stream":"Trades","ts":%d,"event_ts":%d,"rows":[%s]}`+"\n", firstLine+at.message, m.ts, strings.Join(rows, ","))
			default:
				lines++
				fmt.Fprintf(&text, `{"stream":"Trades","ts":%d,"event_ts":%d,"data":%s}`+"\n", firstLine+at.message, m.ts, m.rows[at.row])
			}
			r.lineOf[id] = lines
		}
	}
	replay(h.t, restored, text.String(), r.rows)
	h.replays[key] = r
	return r
}

// placed is a result with its position.
type placed struct {
	row
	at [2]uint64
}

// outOf holds the results of each generation, by subject.
type outOf map[checkpoint.Generation]map[string][]placed

// results reads the output stream.
func (h *history) results() outOf {
	h.t.Helper()
	ctx := h.c.within(4 * patience)
	stream, err := h.c.js.Stream(ctx, natsconn.OutStream(restored, 0))
	must(h.t, err)
	end := stream.CachedInfo().State.LastSeq
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	must(h.t, err)
	messages, err := consumer.Messages()
	must(h.t, err)
	defer messages.Stop()
	all := outOf{}
	newest := checkpoint.Generation(0)
	for seq := uint64(0); seq < end; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		must(h.t, err)
		meta, err := m.Metadata()
		must(h.t, err)
		seq = meta.Sequence.Stream
		header := m.Headers()
		if strings.HasPrefix(m.Subject(), "ef.fence.") {
			continue
		}
		number, err := strconv.ParseUint(header.Get("Ef-Generation"), 10, 64)
		must(h.t, err)
		g := checkpoint.Generation(number)
		if g < newest {
			h.t.Fatalf("a result of generation %d follows one of %d", g, newest)
		}
		newest = g
		if all[g] == nil {
			all[g] = map[string][]placed{}
		}
		rows := all[g][m.Subject()]
		at := position(h.t, header.Get("Ef-Position"))
		if n := len(rows); n > 0 && (at[0] < rows[n-1].at[0] || at[0] == rows[n-1].at[0] && at[1] <= rows[n-1].at[1]) {
			h.t.Fatalf("generation %d, %s: position %v follows %v", g, m.Subject(), at, rows[n-1].at)
		}
		ts, err := strconv.ParseInt(header.Get("Ef-Timestamp"), 10, 64)
		must(h.t, err)
		for text := range bytes.Lines(m.Data()) {
			rows = append(rows, placed{row{kind: header.Get("Ef-Kind"), ts: ts, data: values(h.t, text)}, at})
		}
		all[g][m.Subject()] = rows
	}
	return all
}

func (p *placed) event() int {
	id, _, _ := strings.Cut(p.data, ",")
	n, err := strconv.Atoi(id)
	if err != nil {
		panic(err)
	}
	return n
}

// awaitResults waits until all results of the first so many messages are durable.
func (h *history) awaitResults(messages int) {
	h.t.Helper()
	last := h.messages[messages-1].events - 1
	eventually(h.t, fmt.Sprintf("event %d has results", last), func() bool {
		s, err := h.c.js.Stream(h.c.within(patience), natsconn.OutStream(restored, 0))
		must(h.t, err)
		m, err := s.GetLastMsgForSubject(h.c.within(patience), each)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return false
		}
		must(h.t, err)
		p := placed{row: row{data: values(h.t, m.Data)}}
		return p.event() == last
	})
	// Messages of a frame may appear one by one. A checkpoint is committed after those before it.
	eventually(h.t, "the results of that frame are durable", func() bool {
		made, err := h.c.ctl.Trigger(h.c.within(patience), control.AppRequest{App: restored})
		return err == nil && made.Committed
	})
}

// check compares the results of all generations with replays. The newest generation must have all
// results of the first so many messages, which are all that were published.
func (h *history) check(messages int) {
	h.t.Helper()
	published := 0
	if messages > 0 {
		published = h.messages[messages-1].events
	}
	got := h.results()
	frames := h.frames(got)
	first := make([]int, h.generation()+2) // first event of each generation
	h.generations[1].state = map[string]line{"": {{0, forEver}}}
	for g := checkpoint.Generation(2); g <= h.generation(); g++ {
		first[g] = h.resolve(h.generations[g], frames, got[g][each])
	}
	h.compared = 0
	var out *extent // of the newest earlier generation that has results
	for g := checkpoint.Generation(1); g <= h.generation(); g++ {
		end := published
		if g < h.generation() { // its end may be within a frame
			end = first[g]
			if last := lastFrame(got[g]); last > 0 {
				end = max(end, firstAfter(frames, last-1))
			}
		}
		x := h.compare(g, h.generations[g], first[g], end, got[g])
		if out != nil {
			h.checkGap(g, h.generations[g], x, out, got[g])
		}
		if x.frame > 0 {
			x.before = firstAfter(frames, x.frame-1)
			out = x
		}
	}
}

// extent is the part of its line that a generation has put out.
type extent struct {
	origin   *origin
	first    int            // its results are of events from this one on, or of earlier ones
	frame    uint64         // frame of its last result
	before   int            // first event of that frame
	from, to map[string]int // by subject, numbers of results
}

func lastFrame(got map[string][]placed) (last uint64) {
	for _, rows := range got {
		last = max(last, rows[len(rows)-1].at[0])
	}
	return last
}

// checkGap checks that a generation continues no later than where the previous one stopped, and
// that before its start it only puts out results that were missing.
func (h *history) checkGap(g checkpoint.Generation, o *origin, x, out *extent, got map[string][]placed) {
	h.t.Helper()
	for subject, rows := range got {
		if rows[0].at[0] < o.start.Sequence && rows[0].at[0] < out.frame {
			h.t.Errorf("generation %d (%s), %s: a result of frame %d, the start is at %d, and results were out up to frame %d",
				g, o.ask, subject, rows[0].at[0], o.start.Sequence, out.frame)
		}
	}
	if x.first <= out.before {
		return
	}
	for subject, from := range x.from {
		if line := fmt.Sprint(o.of(subject)); line == fmt.Sprint(out.origin.of(subject)) && from > out.to[subject] {
			h.t.Errorf("generation %d (%s), %s: its first result is %d, but the previous generation stopped at %d", g, o.ask, subject, from, out.to[subject])
		}
	}
}

// frameAt is a frame of the log: its sequence, its first event that has results, and the number of
// its events.
type frameAt struct {
	seq   uint64
	first int
	n     int
}

// frames derives from the results which events each frame holds.
func (h *history) frames(got outOf) []frameAt {
	h.t.Helper()
	seqOf := map[int]uint64{}
	for g, of := range got {
		for _, r := range of[each] {
			if before, seen := seqOf[r.event()]; seen && before != r.at[0] {
				h.t.Fatalf("generation %d has event %d of frame %d, and another one of %d", g, r.event(), r.at[0], before)
			}
			for id := h.chunkOf(r.event()); id <= r.event(); id++ {
				seqOf[id] = r.at[0]
			}
		}
	}
	var frames []frameAt
	for id := range len(h.events) {
		seq, seen := seqOf[id]
		if !seen {
			continue
		}
		if n := len(frames); n > 0 && frames[n-1].seq == seq {
			frames[n-1].n++
			continue
		} else if n > 0 && frames[n-1].seq > seq {
			h.t.Fatalf("event %d is of frame %d, and the one before of %d", id, seq, frames[n-1].seq)
		}
		frames = append(frames, frameAt{seq, id, 1})
	}
	return frames
}

// chunkOf returns the first event of the chunk that holds an event; the event itself if it is in no
// chunk. A chunk has one row, which is numbered as its last event.
func (h *history) chunkOf(id int) int {
	at := h.events[id]
	if !h.messages[at.message].chunk {
		return id
	}
	return id - at.row
}

// firstAfter returns the first event after a frame.
func firstAfter(frames []frameAt, seq uint64) int {
	i := sort.Search(len(frames), func(i int) bool { return frames[i].seq > seq })
	switch {
	case i < len(frames):
		return frames[i].first
	case i == 0:
		return 0
	}
	return frames[i-1].first + frames[i-1].n
}

// resolve determines which events the state of a generation has seen, and the generation's first
// event.
func (h *history) resolve(o *origin, frames []frameAt, got []placed) (first int) {
	h.t.Helper()
	first = firstAfter(frames, o.start.Sequence)
	if o.start.Event > 0 {
		first = firstAfter(frames, o.start.Sequence-1)
		i := sort.Search(len(frames), func(i int) bool { return frames[i].seq >= o.start.Sequence })
		most := 0
		if i < len(frames) && frames[i].seq == o.start.Sequence {
			most = min(frames[i].n, int(o.start.Event))
		}
		least := first
		first += most // repeated events count, too, and have no results
		if len(got) > 0 && got[0].event() < first {
			first = max(least, h.chunkOf(got[0].event()))
		}
	}
	from := h.generations[o.from]
	o.state = map[string]line{}
	switch {
	case o.ask.After == recovery.AfterFork:
		for subject, l := range from.state {
			o.state[subject] = l.forked(firstAfter(frames, o.ask.place), first)
		}
	case len(o.ask.Components) > 0:
		onto := h.generations[h.before(o)]
		for subject, l := range onto.state {
			o.state[subject] = l
		}
		subject := map[string]string{"sliding": "Recent", "tumbling": "Busiest"}[o.ask.Components[0]]
		subject = natsconn.OutSubject(restored, subject, 0)
		o.state[subject] = from.of(subject).forked(firstAfter(frames, o.ask.place), first)
	default:
		o.state = from.state
	}
	return first
}

// before returns the number of the previous generation.
func (h *history) before(o *origin) checkpoint.Generation {
	for g, x := range h.generations {
		if x == o {
			return g - 1
		}
	}
	panic("no such generation")
}

func (o *origin) of(subject string) line {
	if l, own := o.state[subject]; own {
		return l
	}
	return o.state[""]
}

// forked returns the line up to one event, continued from another one.
func (l line) forked(to, from int) line {
	l = slices.Clone(l)
	l[len(l)-1].to = to
	if to == from {
		l[len(l)-1].to = forEver // nothing is left out
		return l
	}
	return append(l, piece{from, forEver})
}

// compare compares the results of a generation with a replay. All results from its first event up
// to end must be there; earlier and later ones must be right if they are there.
func (h *history) compare(g checkpoint.Generation, o *origin, first, end int, got map[string][]placed) *extent {
	h.t.Helper()
	x := &extent{origin: o, first: first, frame: lastFrame(got), from: map[string]int{}, to: map[string]int{}}
	for _, name := range []string{"Large", "Recent", "Busiest", "PerSymbol", "Cheap", "CheapMean"} {
		subject := natsconn.OutSubject(restored, name, 0)
		r := h.replay(o.of(subject))
		upTo := func(event int) int { // results of the events before it
			line, known := r.lineOf[event-1]
			if !known {
				line = r.lineOf[event] - 1
			}
			rows := r.rows[subject]
			return sort.Search(len(rows), func(i int) bool { return rows[i].input > line })
		}
		from := upTo(first)
		for _, r := range got[subject] { // results that the previous generation had not put out
			if r.at[0] < o.start.Sequence || r.at[0] == o.start.Sequence && o.start.Event == 0 {
				from--
			}
		}
		if from < 0 {
			h.t.Errorf("generation %d (%s), %s: %d results too many before the start at %d", g, o.ask, subject, -from, o.start.Sequence)
			continue
		}
		x.from[subject], x.to[subject] = from, from+len(got[subject])
		want := r.rows[subject][from:]
		h.compared += len(got[subject])
		for i, r := range got[subject] {
			if i >= len(want) {
				h.t.Errorf("generation %d (%s), %s: %d results, want %d", g, o.ask, subject, len(got[subject]), len(want))
				break
			}
			if !same(subject, r.row, want[i]) {
				h.t.Errorf("generation %d (%s from %d, start %+v, first event %d, state %v), %s: result %d is\n  %+v, want\n  %+v",
					g, o.ask, o.from, o.start, first, o.of(subject), subject, i, r, want[i])
				break
			}
		}
		if least := upTo(end) - from; len(got[subject]) < least {
			h.t.Errorf("generation %d (%s), %s: %d results of the events from %d to %d, want %d", g, o.ask, subject, len(got[subject]), first, end, least)
		}
	}
	return x
}

func (h *history) end() { h.scribe.end() }

// forEver is the end of an open range.
const forEver = 1 << 40

// scribe records the first checkpoint of each generation before it is retired.
type scribe struct {
	c    *cluster
	quit context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	list  []control.CheckpointRef // retained, newest first
	first map[checkpoint.Generation]*checkpoint.Manifest
	of    map[state.Epoch]checkpoint.Generation
}

func newScribe(c *cluster) *scribe {
	ctx, quit := context.WithCancel(context.Background())
	s := &scribe{c: c, quit: quit, first: map[checkpoint.Generation]*checkpoint.Manifest{}, of: map[state.Epoch]checkpoint.Generation{}}
	s.done.Go(func() { s.write(ctx) })
	c.t.Cleanup(s.end)
	return s
}

func (s *scribe) end() {
	s.quit()
	s.done.Wait()
}

func (s *scribe) write(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, time.Second)
		list, err := s.c.ctl.Checkpoints(asking, control.AppRequest{App: restored})
		if err == nil {
			s.take(asking, &list)
		}
		cancel()
	}
}

func (s *scribe) take(ctx context.Context, list *control.CheckpointList) {
	var refs []control.CheckpointRef
	s.mu.Lock()
	first := map[checkpoint.Generation]state.Epoch{}
	for _, k := range list.Checkpoints { // newest first
		if k.State == "committed" {
			refs = append(refs, k.CheckpointRef)
			s.of[k.Epoch] = k.Generation
			first[k.Generation] = k.Epoch
		}
	}
	s.list = refs
	if len(refs) > 0 && refs[len(refs)-1].Generation > 1 {
		delete(first, refs[len(refs)-1].Generation) // its first checkpoint may be retired already
	}
	for g := range s.first {
		delete(first, g)
	}
	s.mu.Unlock()
	for g, epoch := range first {
		if m, err := s.c.ctl.Checkpoint(ctx, control.CheckpointRequest{App: restored, Epoch: epoch}); err == nil {
			s.mu.Lock()
			s.first[g] = &m
			s.mu.Unlock()
		}
	}
}

func (s *scribe) retained() []control.CheckpointRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// beginning returns the manifest of a generation's first checkpoint, and the generation that made
// the given checkpoint.
func (s *scribe) beginning(g checkpoint.Generation, epoch state.Epoch) (*checkpoint.Manifest, checkpoint.Generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first[g], s.of[epoch]
}
