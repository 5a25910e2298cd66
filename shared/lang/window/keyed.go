package window

// keyedRows keeps one row for each key. Rows have numbers, and are in the order of these.
type keyedRows struct {
	pool        pool
	prefix      byte // of its entries
	extras      int  // how many of the numbers beside a row are used
	byKey       map[string]*keyedRow
	first, last *keyedRow
	next        uint64 // number of the next row; starts with 1

	tracked bool
	changed []string // keys of rows that came, changed or went

	follower Follower
	byID     map[uint64]*keyedRow // if there is a follower; the id is the number
}

// keyedRow is the row of a key.
type keyedRow struct {
	key         string
	number      uint64
	beside      [2]uint64
	place       int32 // in the pool
	touched     bool
	before, nxt *keyedRow
}

func newKeyedRows(c Config, prefix byte, extras int) *keyedRows {
	return &keyedRows{pool: newPool(c), prefix: prefix, extras: extras, byKey: map[string]*keyedRow{}, next: 1}
}

func (k *keyedRows) len() int { return len(k.byKey) }

func (k *keyedRows) row(x *keyedRow, kind Kind) Row { return k.pool.row(x.place, kind) }

// expired returns the row as expired at ms now.
func (k *keyedRows) expired(x *keyedRow, now int64) Row {
	r := k.row(x, Expired)
	r.TS = now
	return r
}

// add keeps a copy of the row for a new key, after all other rows.
func (k *keyedRows) add(key []byte, r Row) *keyedRow {
	x := &keyedRow{key: string(key), place: k.pool.put(r)}
	k.byKey[x.key] = x
	k.append(x)
	return x
}

// move replaces the row of a key and puts it after all others.
func (k *keyedRows) move(x *keyedRow, r Row) {
	k.leaves(x)
	k.pool.leave()
	x.place = k.pool.put(r)
	k.unlink(x)
	k.append(x)
}

// replace replaces the row of a key and leaves it where it is.
func (k *keyedRows) replace(x *keyedRow, r Row) {
	k.leaves(x)
	k.pool.leave()
	x.place = k.pool.put(r)
	k.touch(x)
	k.enters(x)
}

// remove removes a row. References to it stay valid until settle.
func (k *keyedRows) remove(x *keyedRow) {
	k.leaves(x)
	k.touch(x)
	k.pool.leave()
	k.unlink(x)
	if delete(k.byKey, x.key); len(k.byKey) == 0 {
		k.byKey = map[string]*keyedRow{} // a map keeps its size
	}
}

func (k *keyedRows) append(x *keyedRow) {
	x.number = k.next
	k.next++
	k.link(x)
	k.touch(x)
	k.enters(x)
}

func (k *keyedRows) link(x *keyedRow) {
	x.before, x.nxt = k.last, nil
	if k.last != nil {
		k.last.nxt = x
	} else {
		k.first = x
	}
	k.last = x
}

func (k *keyedRows) unlink(x *keyedRow) {
	if x.before != nil {
		x.before.nxt = x.nxt
	} else {
		k.first = x.nxt
	}
	if x.nxt != nil {
		x.nxt.before = x.before
	} else {
		k.last = x.before
	}
}

func (k *keyedRows) touch(x *keyedRow) {
	if k.tracked && !x.touched {
		x.touched = true
		k.changed = append(k.changed, x.key)
	}
}

func (k *keyedRows) settle() {
	if k.pool.gone == 0 {
		return
	}
	k.pool.settle(func(visit func(*int32)) {
		for x := k.first; x != nil; x = x.nxt {
			visit(&x.place)
		}
	})
}

func (k *keyedRows) enters(x *keyedRow) {
	if k.follower != nil {
		k.byID[x.number] = x
		k.follower.Enter(x.number, k.row(x, Current))
	}
}

func (k *keyedRows) leaves(x *keyedRow) {
	if k.follower != nil {
		k.follower.Leave(x.number, k.row(x, Current))
		delete(k.byID, x.number)
	}
}

// follow has f told from now on, and says nothing of the rows that are there.
func (k *keyedRows) follow(f Follower) {
	k.follower, k.byID = f, nil
	if f == nil {
		return
	}
	k.byID = map[uint64]*keyedRow{}
	for x := k.first; x != nil; x = x.nxt {
		k.byID[x.number] = x
	}
}

func (k *keyedRows) each(visit func(id uint64, r Row) bool) {
	for x := k.first; x != nil; x = x.nxt {
		if !visit(x.number, k.row(x, Current)) {
			return
		}
	}
}
