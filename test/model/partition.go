package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// block is a `partition with` block: one instance of its queries for each key (7).
type block struct {
	m         *Model
	plan      *siddhiql.Partition
	instances []*instance // in order of their keys' first events
}

// instance is the queries of a block for one key.
type instance struct {
	key     string
	queries []*running // in the order written
	last    int64      // clock at its last event
}

// receive passes a chunk of an outer stream to the instances.
func (b *block) receive(s *siddhiql.Stream, chunk []item) {
	if !slices.ContainsFunc(b.plan.Queries, func(q *siddhiql.Query) bool { return q.ReadsFrom(s) }) {
		return
	}
	keyed, partitioned := b.split(s, chunk)
	if !partitioned {
		for _, in := range slices.Clone(b.instances) {
			in.receive(s, chunk)
		}
		return
	}
	// A batch is split into runs of consecutive equal keys, one chunk each.
	for from := 0; from < len(keyed); {
		to := from
		var run []item
		for to < len(keyed) && keyed[to].key == keyed[from].key {
			run = append(run, keyed[to].event)
			to++
		}
		in := b.instance(keyed[from].key)
		in.last = b.m.clock
		in.receive(s, run)
		from = to
	}
}

type keyedEvent struct {
	key   string
	event item
}

// split returns the keys of each event of a stream in the with list. It drops events with a null
// key or in no range. An event in several ranges appears several times, in the order of the ranges.
func (b *block) split(s *siddhiql.Stream, chunk []item) (keyed []keyedEvent, partitioned bool) {
	for _, k := range b.plan.Keys {
		partitioned = partitioned || k.Stream.ID == s.ID
	}
	for _, e := range chunk {
		x := scope{values: e.values, ts: e.ts, now: b.m.clock}
		for _, k := range b.plan.Keys {
			if k.Stream.ID != s.ID {
				continue
			}
			if k.Value != nil {
				if v := x.eval(k.Value); v != nil {
					keyed = append(keyed, keyedEvent{text(v), e})
				}
				continue
			}
			for _, r := range k.Ranges {
				if x.holds(r.Cond) {
					keyed = append(keyed, keyedEvent{r.Label, e})
				}
			}
		}
	}
	return keyed, partitioned
}

func (b *block) instance(key string) *instance {
	for _, in := range b.instances {
		if in.key == key {
			return in
		}
	}
	in := &instance{key: key}
	for _, q := range b.plan.Queries {
		in.queries = append(in.queries, newRunning(b.m, q, in))
	}
	b.instances = append(b.instances, in)
	return in
}

// forget drops the state of a key.
func (b *block) forget(key string) {
	b.instances = slices.DeleteFunc(slices.Clone(b.instances), func(in *instance) bool {
		if in.key != key {
			return false
		}
		b.m.timers = slices.DeleteFunc(b.m.timers, func(t timer) bool { return t.run.in == in })
		return true
	})
}

// receive passes a chunk to the instance's queries over the stream.
func (in *instance) receive(s *siddhiql.Stream, chunk []item) {
	for _, run := range in.queries {
		if run.q.ReadsFrom(s) {
			run.receive(s, chunk)
		}
	}
}
