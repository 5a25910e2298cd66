package window

import "math"

// run has rows of a session in order of arrival. In the state, full blocks of them are
// entries that never change again; only the rows after those blocks are written with the
// session. A run that another one follows is sealed: all its rows are in blocks (the last
// one may be short), and no more rows come.
type run struct {
	id   uint64
	rows []int32 // places in the pool
	out  int     // how many of them are in blocks

	of    *session
	order int      // among the merged runs of the session
	ids   []uint64 // of the rows, if there is a follower
}

// runBlock is one block of rows of a run.
type runBlock struct{ run, number uint64 }

// blockOfRun is how many rows a block of a run has. When a session has changed, the rows
// that are written with it are at most this many, besides the changed ones.
const blockOfRun = 128

// runID is the id of a run that starts with the session: 0 for the run of the rows on time,
// 1 for the run of the merged rows.
func (s *session) runID(which uint64) uint64 { return s.opened<<1 | which }

// last returns the run that takes the next merged rows.
func (s *session) last() *run {
	if len(s.merged) == 0 {
		s.merged = append(s.merged, &run{id: s.runID(1), of: s})
	}
	return s.merged[len(s.merged)-1]
}

func (w *sessions) append(r *run, place int32) {
	r.rows = append(r.rows, place)
	w.enter(r, len(r.rows)-1)
	if len(r.rows)-r.out == blockOfRun {
		w.write(r, blockOfRun)
	}
}

// join puts the rows of r after those that are merged into s. It copies few rows: only the
// first run of a session is ever short, so that one of many small sessions does not become
// a long list of runs.
func (w *sessions) join(s *session, r *run) {
	if len(r.rows) < blockOfRun {
		w.drop(r)
		for _, place := range r.rows {
			w.append(s.last(), place)
		}
		return
	}
	if n := len(s.merged); n > 0 {
		w.seal(s.merged[n-1])
	}
	r.of, r.order = s, len(s.merged)
	s.merged = append(s.merged, r)
	w.enter(r, 0)
}

// at returns a number that orders the runs of a session: the rows on time come last.
func (r *run) at() int {
	if r == &r.of.onTime {
		return math.MaxInt
	}
	return r.order
}

func (w *sessions) seal(r *run) {
	if rest := len(r.rows) - r.out; rest > 0 {
		w.write(r, rest)
	}
}

// write puts the next rows of a run into a block.
func (w *sessions) write(r *run, rows int) {
	w.runs[r.id] = r
	w.record(runBlock{r.id, uint64(r.out / blockOfRun)})
	r.out += rows
}

// drop removes the blocks of a run.
func (w *sessions) drop(r *run) {
	for n := range r.blocks() {
		w.record(runBlock{r.id, n})
	}
	if r.out > 0 {
		delete(w.runs, r.id)
	}
}

func (w *sessions) record(b runBlock) {
	if w.tracked {
		w.blocks = append(w.blocks, b)
	}
}

// blocks returns the number of blocks.
func (r *run) blocks() uint64 { return uint64(r.out+blockOfRun-1) / blockOfRun }

// block returns the rows of a block; none if there is no such block.
func (r *run) block(n uint64) []int32 {
	if r == nil || n >= r.blocks() {
		return nil
	}
	first := int(n) * blockOfRun
	return r.rows[first:min(first+blockOfRun, r.out)]
}

// rest returns the rows that are in no block.
func (r *run) rest() []int32 { return r.rows[r.out:] }

func (r *run) visit(visit func(*int32)) {
	for i := range r.rows {
		visit(&r.rows[i])
	}
}
