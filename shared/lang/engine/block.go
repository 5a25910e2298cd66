package engine

import (
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"

	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// block is a `partition with`: every key has its own instance of each query.
type block struct {
	e       *Engine
	id      int // in the order written
	queries []*query
	byKey   shrink.Map[string, *instance]
	all     []*instance      // in the order of arrival of their keys; nil: it has ended
	readers []*reader        // one for each outer stream that a query of the block reads
	touched touchedInstances // of the keys
	tell    tellFn           // while keys are frozen

	period  int64 // @purge forgets a key this many ms after its last event; 0: never
	lasting bool  // even an idle key makes a difference: a stream goes to all keys
	idle    int   // instances that are idle
	counted bool  // idle is right; it is not after loading
}

// instance is the state of a block's queries for one key.
type instance struct {
	block    *block
	key      string
	place    uint64    // orders the instances of a block: larger than in all earlier ones
	at       int       // in block.all
	memories []*memory // by index in block.queries
	last     int64     // when the last event of the key came, ms of the app's clock, if dated
	dated    bool      // with @purge, or if it was stored so
	awaited  bool      // a timer of the key is in the heap
	used     bool      // it is in Engine.used
	idle     bool      // it acts as a new one would
	gone     bool      // it has ended
}

// reader passes one stream to the queries of a block that read it.
type reader struct {
	block   *block
	stream  *siddhiql.Stream
	queries []int   // indexes in block.queries
	keys    []keyFn // nil: the stream has no key, and goes to every instance
	run     []window.Row
	scratch row
}

// keyFn returns a key of a row: the text of a value, or a range's label; false if
// the row has none.
type keyFn func(*row) (string, bool)

func newBlock(e *Engine, plan *siddhiql.Partition) *block {
	b := &block{e: e, touched: touchedInstances{part: partitionKeys, round: 1}}
	b.define(plan)
	return b
}

// define gives the block its queries and the readers of its streams.
func (b *block) define(plan *siddhiql.Partition) {
	e := b.e
	b.id, b.period, b.lasting = plan.ID, plan.IdlePeriod, false
	b.queries, b.readers = nil, nil
	for i, p := range plan.Queries {
		q := e.queries[p.ID]
		q.block, q.place = b, i
		b.queries = append(b.queries, q)
	}
	for i, p := range plan.Queries {
		for _, s := range p.Reads() {
			if s.Block < 0 {
				b.read(plan, s, i)
			}
		}
	}
}

// read makes query i of the block read a stream outside.
func (b *block) read(plan *siddhiql.Partition, s *siddhiql.Stream, i int) {
	r := b.reader(s)
	if r == nil {
		r = &reader{block: b, stream: s, keys: keysOf(plan, s)}
		b.readers = append(b.readers, r)
		b.lasting = b.lasting || r.keys == nil
	}
	r.queries = append(r.queries, i)
}

func (b *block) reader(s *siddhiql.Stream) *reader {
	for _, r := range b.readers {
		if r.stream == s {
			return r
		}
	}
	return nil
}

func keysOf(plan *siddhiql.Partition, s *siddhiql.Stream) []keyFn {
	var keys []keyFn
	for _, k := range plan.Keys {
		if k.Stream != s {
			continue
		}
		if k.Value != nil {
			keys = append(keys, keyFn(convertText(k.Value)))
		}
		for _, r := range k.Ranges {
			test, label := compileCond(r.Cond), r.Label
			keys = append(keys, func(x *row) (string, bool) { return label, test(x) })
		}
	}
	return keys
}

// innerReaders returns the queries of the block that read an inner stream, as
// indexes of an instance's memories.
func (b *block) innerReaders(s *siddhiql.Stream) []int {
	var readers []int
	for i, q := range b.queries {
		if q.plan.ReadsFrom(s) {
			readers = append(readers, i)
		}
	}
	return readers
}

// receive splits a chunk into runs of rows with the same key, and passes each run
// to the queries of that key's instance before the next run.
func (r *reader) receive(_ *siddhiql.Stream, chunk []window.Row) {
	if r.keys == nil {
		r.block.each(func(in *instance) { r.pass(in, chunk) })
		return
	}
	var current *instance
	r.run = shrink.Reset(r.run)
	for i := range chunk {
		in := chunk[i]
		r.scratch.at(&in, r.block.e.env.Now)
		for _, key := range r.keys {
			text, ok := key(&r.scratch)
			if !ok {
				continue
			}
			home := r.block.byKey.M[text]
			if (home == nil || home != current) && len(r.run) > 0 {
				r.pass(current, r.run)
				r.run = shrink.Reset(r.run)
			}
			if home == nil { // only now: effects of the run before must not reach it
				if home = r.block.byKey.M[text]; home == nil { // unless that made it
					r.block.queries[r.queries[0]].checkKey("partition key", len(text))
					home = r.block.instance(text)
					home.begin()
				}
			}
			current = home
			r.run = append(r.run, in)
		}
	}
	if len(r.run) > 0 {
		r.pass(current, r.run)
	}
}

func (r *reader) pass(home *instance, chunk []window.Row) {
	home.use()
	if r.keys != nil && r.block.period > 0 {
		r.block.came(home)
	}
	for _, n := range r.queries {
		home.memories[n].receive(r.stream, chunk)
	}
}

// instance makes the instance of a new key.
func (b *block) instance(key string) *instance {
	key = strings.Clone(key)
	in := &instance{block: b, key: key, at: len(b.all), memories: make([]*memory, len(b.queries))}
	if n := len(b.all); n > 0 {
		in.place = b.all[n-1].place + 1
	}
	for i, q := range b.queries {
		in.memories[i] = q.newMemory(in)
	}
	b.byKey.Put(key, in)
	b.all = append(b.all, in)
	b.touched.touch(in.memories[0])
	return in
}

// NewShardKey compiles the key that assigns the events of a stream to the partitions of an
// app that has several: the text of a value, false for null. The text is valid until the
// next call.
func NewShardKey(s *siddhiql.Stream) func(b *event.Batch, i int) (string, bool) {
	key := convertText(s.ShardKey)
	var r row
	return func(b *event.Batch, i int) (string, bool) {
		r.at(&window.Row{B: b, I: int32(i), TS: b.TS[i]}, b.TS[i])
		return key(&r)
	}
}

// home names the partition block that the query is in; "" for none.
func (q *query) home() string {
	if q.block == nil {
		return ""
	}
	return q.block.stateID()
}
