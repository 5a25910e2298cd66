package siddhiql

import "reflect"

// shardChecker checks that the parts of an app with several partitions share nothing.
type shardChecker struct {
	*build
	catalog *catalog
	keyAt   map[*Partition][]Pos // of the keys of blocks
}

// check checks an app of several partitions: each of its queries must find everything that
// it needs in one partition. It decides which partition a stream's events go to.
func (sh *shardChecker) check(app *App) {
	if sh.plan.Partitions == 1 {
		return
	}
	for _, e := range app.Elements {
		if q, ok := e.(*QueryDef); ok {
			sh.errorf(q.Pos, "this query stands outside `partition with`, so its state needs all events, but the app has %d partitions that share nothing: put it into `partition with (key of %s) begin … end`, or leave out `@app:partitions`",
				sh.plan.Partitions, firstSource(q))
		}
	}
	blocks := 0
	for _, e := range app.Elements {
		if d, ok := e.(*PartitionDef); ok {
			sh.triggers(sh.plan.Blocks[blocks])
			sh.keys(sh.plan.Blocks[blocks])
			sh.reads(d, sh.plan.Blocks[blocks])
			blocks++
		}
	}
	sh.faultKeys()
}

// keys makes the keys of a block the keys of its streams.
func (sh *shardChecker) keys(b *Partition) {
	for i, k := range b.Keys {
		at, name := sh.keyAt[b][i], tick(k.Stream.Name)
		switch {
		case k.Ranges != nil:
			sh.errorf(at, "stream %s has ranges as its key: an event can be in several of them, but goes to one of the app's %d partitions; expected a value as the key", name, sh.plan.Partitions)
		case readsClock(k.Value):
			sh.errorf(at, "the key of stream %s depends on time, but it decides which of the app's %d partitions an event goes to: expected a key of attributes alone", name, sh.plan.Partitions)
		case k.Stream.ShardKey != nil && !reflect.DeepEqual(k.Stream.ShardKey, k.Value):
			sh.errorf(at, "stream %s has another key than in a partition before this one, but an event goes to one of the app's %d partitions: expected the same key", name, sh.plan.Partitions)
		default:
			k.Stream.ShardKey = k.Value
		}
	}
}

// reads checks what the queries of a block read.
func (sh *shardChecker) reads(d *PartitionDef, b *Partition) {
	keyed := map[string]bool{}
	for _, k := range d.Keys {
		keyed[k.Stream.String()] = true
	}
	for _, q := range d.Queries {
		for _, r := range q.Input.Sources() {
			sh.read(r, keyed)
		}
	}
	for _, q := range b.Queries {
		sh.join(q, b)
	}
}

func (sh *shardChecker) read(r StreamRef, keyed map[string]bool) {
	k := sh.catalog.outer[r.Name]
	if r.Fault {
		k = sh.catalog.faults[r.Name]
	}
	switch {
	case r.Inner || k == nil:
	case k.stream.Trigger != nil:
		sh.catalog.noTrigger(r.Pos, k.stream)
	case k.target:
		sh.errorf(r.Pos, "stream %s is filled by a query, but what one of the app's %d partitions yields cannot reach another: expected an inner stream, such as `#%s`", tick(r.Name), sh.plan.Partitions, r.Name)
	case !keyed[r.String()]:
		sh.errorf(r.Pos, "stream %s has no key in this partition, so every one of the app's %d partitions would need all its events: expected `… of %s` in `partition with`", tick(r.String()), sh.plan.Partitions, r)
	}
}

// firstSource names the first stream that a query reads.
func firstSource(q *QueryDef) string {
	if s := q.Input.Sources(); len(s) > 0 {
		return s[0].String()
	}
	return "S"
}

// readsClock reports whether an expression depends on the clock or on the event's time.
func readsClock(e Expr) bool { return calls(e, "currentTimeMillis", "eventTimestamp") }

// calls reports whether an expression has a call of one of two functions.
func calls(e Expr, f, g string) bool {
	switch e := e.(type) {
	case *Arith:
		return calls(e.L, f, g) || calls(e.R, f, g)
	case *Compare:
		return calls(e.L, f, g) || calls(e.R, f, g)
	case *And:
		return calls(e.L, f, g) || calls(e.R, f, g)
	case *Or:
		return calls(e.L, f, g) || calls(e.R, f, g)
	case *Not:
		return calls(e.X, f, g)
	case *IsNull:
		return calls(e.X, f, g)
	case *InRows:
		return calls(e.On, f, g)
	case *Call:
		for _, a := range e.Args {
			if calls(a, f, g) {
				return true
			}
		}
		return e.Func == f || e.Func == g
	}
	return false
}

// join refuses a join whose sides have keys of different types: rows that the condition
// calls equal could be in different partitions.
func (sh *shardChecker) join(q *Query, b *Partition) {
	if q.Join == nil {
		return
	}
	var keys [2]Expr
	for i := range q.Join.Sides {
		for _, k := range b.Keys {
			if k.Stream == q.Join.Sides[i].Stream {
				keys[i] = k.Value
			}
		}
	}
	if keys[0] != nil && keys[1] != nil && keys[0].Type() != keys[1].Type() {
		sh.errorf(q.Pos, "the partition key of %s is %s, and the key of %s is %s: expected one type, so that equal keys are in one of the app's %d partitions",
			tick(q.Join.Sides[0].Name), keys[0].Type(), tick(q.Join.Sides[1].Name), keys[1].Type(), sh.plan.Partitions)
	}
}
