package state_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/eventflux/eventflux/shared/state"
)

// totals is a source as cheap as one can be, so that what is measured is the
// component: a sum and a count for each of many groups.
type totals struct {
	sums    []int64
	changed []int
}

func newTotals(groups int) *totals {
	s := &totals{sums: make([]int64, groups)}
	for i := range s.sums {
		s.sums[i] = int64(i) * 977
	}
	return s
}

const totalsKeyBytes = 16

func (s *totals) key(dst []byte, i int) []byte {
	return binary.BigEndian.AppendUint64(append(dst, "account-"...), uint64(i))
}

func (s *totals) Changed(visit func(key []byte)) {
	var scratch [totalsKeyBytes]byte
	for _, i := range s.changed {
		visit(s.key(scratch[:0], i))
	}
	s.changed = s.changed[:0]
}

func (s *totals) Keys(visit func(key []byte)) {
	var scratch [totalsKeyBytes]byte
	for i := range s.sums {
		visit(s.key(scratch[:0], i))
	}
}

func (s *totals) Append(dst, key []byte) ([]byte, bool) {
	i := binary.BigEndian.Uint64(key[8:])
	if i >= uint64(len(s.sums)) {
		return dst, false
	}
	return binary.AppendVarint(binary.AppendVarint(dst, s.sums[i]), 3), true
}

func (s *totals) Reset() { s.sums, s.changed = s.sums[:0], s.changed[:0] }

func (s *totals) Put(key, value []byte) error {
	sum, n := binary.Varint(value)
	if len(key) != totalsKeyBytes || n <= 0 || binary.BigEndian.Uint64(key[8:]) != uint64(len(s.sums)) {
		return errors.New("not a total")
	}
	s.sums = append(s.sums, sum)
	return nil
}

func (s *totals) Ready() error { return nil }

func (s *totals) Bytes() int64 { return 8 * int64(len(s.sums)) }

const benchGroups = 1_000_000

// benchComponent holds a million groups; it is made once.
var benchComponent = sync.OnceValues(func() (*totals, *state.Component) {
	s := newTotals(benchGroups)
	c := state.NewComponent(bookInfo("1.0.0"), s)
	c.Cut(1)
	c.Committed(1)
	return s, c
})

var benchEpoch state.Epoch = 1

// BenchmarkCutAndDelta is the cost of a barrier with a million groups when 1 % changed:
// Cut, the pause of the task, and then the work beside it.
func BenchmarkCutAndDelta(b *testing.B) {
	const changes = benchGroups / 100
	for _, part := range []string{"cut", "cut+delta"} {
		b.Run(part, func(b *testing.B) {
			s, c := benchComponent()
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				for i := range changes {
					group := (i*7919 + int(benchEpoch)) % benchGroups
					s.sums[group] += 13
					s.changed = append(s.changed, group)
				}
				since := benchEpoch
				benchEpoch++
				b.StartTimer()
				c.Cut(benchEpoch)
				delta, err := c.Delta(since)
				if err != nil {
					b.Fatal(err)
				}
				if part != "cut" {
					delta.Changes()
				}
				b.StopTimer()
				if n := len(delta.Changes()); n != changes {
					b.Fatalf("%d changes", n)
				}
				c.Committed(benchEpoch)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/changes, "ns/change")
		})
	}
}

// BenchmarkDigest is the digest alone, for an entry that changes.
func BenchmarkDigest(b *testing.B) {
	var s state.Sum
	key, value := []byte("account-12345678"), make([]byte, 32)
	b.ReportAllocs()
	for i := range b.N {
		s.Remove(key, value)
		binary.LittleEndian.PutUint64(value, uint64(i))
		s.Add(key, value)
	}
}

func BenchmarkSerialize(b *testing.B) {
	_, c := benchComponent()
	b.ReportAllocs()
	for range b.N {
		data, err := state.SerializeState(c)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
	}
	perEntry(b)
}

func BenchmarkDeserialize(b *testing.B) {
	_, c := benchComponent()
	data, err := state.SerializeState(c)
	if err != nil {
		b.Fatal(err)
	}
	target := state.NewComponent(bookInfo("1.0.0"), newTotals(0))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := state.DeserializeState(target, data); err != nil {
			b.Fatal(err)
		}
	}
	perEntry(b)
}

// BenchmarkCopy is the yardstick: as many bytes as BenchmarkSerialize writes, moved.
func BenchmarkCopy(b *testing.B) {
	_, c := benchComponent()
	data, _ := state.SerializeState(c)
	target := make([]byte, len(data))
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	for range b.N {
		copy(target, data)
	}
	perEntry(b)
}

func perEntry(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchGroups, "ns/entry")
}

// BenchmarkMerge folds ten deltas of 1 % each into a base of a million entries.
func BenchmarkMerge(b *testing.B) {
	_, c := benchComponent()
	base := c.Snapshot().Entries()
	deltas := make([][]state.Change, 10)
	for d := range deltas {
		for i := d; i < len(base); i += 100 {
			deltas[d] = append(deltas[d], state.Change{Key: base[i].Key, Value: fmt.Append(nil, i)})
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		state.Merge(base, deltas...)
	}
	perEntry(b)
}
