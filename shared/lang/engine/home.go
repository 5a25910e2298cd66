package engine

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Home returns the partition of a key in an app with that many partitions: the FNV-1a hash of
// its text. Events and state go by it, so it never changes.
func Home(key string, partitions uint32) uint32 {
	const offset, prime = 2166136261, 16777619
	hash := uint32(offset)
	for i := range len(key) {
		hash = (hash ^ uint32(key[i])) * prime
	}
	return hash % partitions
}

// keyFunc returns the text of a row's key; false if it has none. The text is valid until the
// next call.
type keyFunc = func(b *event.Batch, i int) (string, bool)

// keyOf returns the key of a stream's events.
func (t *Task) keyOf(s *siddhiql.Stream) keyFunc {
	key, ok := t.keys[s.ID]
	if !ok {
		key = keyOf(t.plan, s)
		if t.keys == nil {
			t.keys = map[int]keyFunc{}
		}
		t.keys[s.ID] = key
	}
	return key
}

// keyOf compiles the key of a stream's events, whether the app has several partitions or one.
// It returns nil for a stream that no partition block reads by a value.
func keyOf(plan *siddhiql.Plan, s *siddhiql.Stream) keyFunc {
	if s.ShardKey != nil {
		return NewShardKey(s)
	}
	for _, b := range plan.Blocks {
		for _, k := range b.Keys {
			if k.Stream == s && k.Value != nil {
				keyed := *s
				keyed.ShardKey = k.Value
				return NewShardKey(&keyed)
			}
		}
	}
	return nil
}

// homeOf returns the partition that a row has by its key, as ingest decides it: partition 0 for
// a row without a key.
func homeOf(key keyFunc, b *event.Batch, i int, partitions uint32) uint32 {
	if key == nil {
		return 0
	}
	text, ok := key(b, i)
	if !ok {
		return 0
	}
	return Home(text, partitions)
}
