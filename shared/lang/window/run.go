package window

// run has rows of a session in the order in which they came. In the state, full
// blocks of them are entries that never change again; only the rows behind those
// are written with the session. A run that another one follows is sealed: it has
// all its rows in blocks, the last of which may be short, and none come any more.
type run struct {
	id   uint64
	rows []int32 // places in the pool
	out  int     // how many of them are in blocks
}

// runBlock is one block of rows of a run.
type runBlock struct{ run, number uint64 }

// blockOfRun is how many rows a block of a run has. At most as many, beside those
// that have changed, are written with each session that has changed.
const blockOfRun = 128

// runID is the id of one of the two runs that begin with the session: that of the
// rows on time is 0, that of the merged ones 1.
func (s *session) runID(which uint64) uint64 { return s.opened<<1 | which }

// last returns the run behind which merged rows go.
func (s *session) last() *run {
	if len(s.merged) == 0 {
		s.merged = append(s.merged, &run{id: s.runID(1)})
	}
	return s.merged[len(s.merged)-1]
}

func (w *sessions) append(r *run, place int32) {
	r.rows = append(r.rows, place)
	if len(r.rows)-r.out == blockOfRun {
		w.write(r, blockOfRun)
	}
}

// join puts the rows of r behind those that are merged into s. Few are copied: only
// the first run of a session is ever short, so that one of many small ones does not
// become a long list of runs.
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
	s.merged = append(s.merged, r)
}

func (w *sessions) seal(r *run) {
	if rest := len(r.rows) - r.out; rest > 0 {
		w.write(r, rest)
	}
}

// write puts the next rows of a run into a block.
func (w *sessions) write(r *run, rows int) {
	w.runs[r.id] = r
	w.note(runBlock{r.id, uint64(r.out / blockOfRun)})
	r.out += rows
}

// drop lets the blocks of a run go.
func (w *sessions) drop(r *run) {
	for n := range r.blocks() {
		w.note(runBlock{r.id, n})
	}
	if r.out > 0 {
		delete(w.runs, r.id)
	}
}

func (w *sessions) note(b runBlock) {
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
