package window

// lateRows keeps rows that do not leave in the order of their arrival. Each has a number,
// one more than the row before.
type lateRows struct {
	pool    pool
	heap    Heap[lateTime, *lateTime]
	rows    map[uint64]lateRow // by number
	next    uint64             // number of the next row
	touched []uint64           // numbers of rows that came or went
	tracked bool               // Changed was called, so changes are recorded

	follower Follower
}

// lateTime is when a row leaves.
type lateTime struct {
	at     int64
	number uint64
}

// Before orders rows by the time when they leave, then by arrival.
func (t *lateTime) Before(o *lateTime) bool {
	return t.at < o.at || t.at == o.at && t.number < o.number
}

type lateRow struct {
	seq   uint64 // of its timer
	place int32  // in the pool
}

func newLateRows(c Config) lateRows { return lateRows{pool: newPool(c)} }

// push keeps a copy of the row.
func (l *lateRows) push(r Row, at int64, seq uint64) {
	l.touch(l.next)
	l.insert(l.next, at, lateRow{seq, l.pool.put(r)})
	if l.follower != nil {
		l.follower.Enter(l.next<<1|lateID, l.row(l.next))
	}
	l.next++
}

func (l *lateRows) insert(number uint64, at int64, r lateRow) {
	if l.rows == nil {
		l.rows = map[uint64]lateRow{}
	}
	l.rows[number] = r
	l.heap.Push(lateTime{at, number})
}

// pop removes the first row and returns it as expired at ms now. A reference to it stays
// valid until settle.
func (l *lateRows) pop(now int64) Row {
	number := l.heap.Pop().number
	l.touch(number)
	if l.follower != nil {
		l.follower.Leave(number<<1|lateID, l.row(number))
	}
	r := l.pool.row(l.rows[number].place, Expired)
	r.TS = now
	l.pool.leave()
	if delete(l.rows, number); len(l.rows) == 0 {
		l.rows = nil // a map keeps its size
	}
	return r
}

func (l *lateRows) row(number uint64) Row { return l.pool.row(l.rows[number].place, Current) }

func (l *lateRows) touch(number uint64) {
	if l.tracked {
		l.touched = append(l.touched, number)
	}
}

// settle ends the life of references to rows that have left.
func (l *lateRows) settle() {
	if l.pool.gone == 0 {
		return
	}
	l.pool.settle(func(visit func(*int32)) {
		for _, t := range l.heap {
			r := l.rows[t.number]
			visit(&r.place)
			l.rows[t.number] = r
		}
	})
}

func (l *lateRows) reset() {
	l.pool.reset()
	*l = lateRows{pool: l.pool, tracked: l.tracked, follower: l.follower}
}

func (l *lateRows) bytes() int64 {
	const perRow = 64 // in the heap and the map
	return int64(l.pool.rows.Bytes()) + perRow*int64(len(l.heap))
}
