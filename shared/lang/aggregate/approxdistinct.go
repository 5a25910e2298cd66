package aggregate

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name:    "approx:distinctCount",
		Version: "1.0.0",
		AnyText: true,
		Usage:   "approx:distinctCount(x), x a number or a string",
		Doc:     "about the number of different values, in little memory; null is one of them. The standard error is 1.6 %",
		Instead: "distinctCount",
		Result:  distinctResult,
		New:     func(args []event.Type) Aggregate { return &approxDistinct{class: args[0].Class()} },
	})
}

// A HyperLogLog: the first bits of a value's hash choose a register, and a register keeps the
// largest rank, which is the number of zeros that follow, plus one.
const (
	registerBits = 12
	registers    = 1 << registerBits
	rankMax      = 64 - registerBits + 1
)

// approxDistinct keeps the registers of a group that are not 0, by number. The estimate has no
// table and needs no correction: O. Ertl, "New cardinality estimation algorithms for HyperLogLog
// sketches", 2017, algorithm 6.
type approxDistinct struct {
	multiset // by register: its rank
	class    event.Class
	ranks    []*[rankMax + 1]int32 // by slot: how many registers have a rank; nil for an empty group
	number   [8]byte
}

// Add implements Aggregate.
func (a *approxDistinct) Add(slot int, args []Value) {
	h := a.hash(&args[0])
	a.raise(slot, int64(h>>(64-registerBits)), int64(bits.LeadingZeros64(h<<registerBits|1<<(registerBits-1))+1))
}

// hash mixes the bits of a value. It is part of the state's format.
func (a *approxDistinct) hash(v *Value) uint64 {
	const ofNull = 0x9e3779b97f4a7c15
	switch {
	case v.Null:
		return ofNull
	case a.class == event.Texts:
		return xxhash.Sum64String(v.Text)
	case a.class == event.Reals:
		binary.LittleEndian.PutUint64(a.number[:], uint64(realKey(v.Real)))
	default:
		binary.LittleEndian.PutUint64(a.number[:], uint64(v.Int))
	}
	return xxhash.Sum64(a.number[:])
}

// raise sets a register to a rank if it is lower.
func (a *approxDistinct) raise(slot int, register, rank int64) {
	a.groups, a.ranks = grow(a.groups, slot), grow(a.ranks, slot)
	if a.ranks[slot] == nil {
		a.ranks[slot] = &[rankMax + 1]int32{0: registers}
	}
	ranks := a.ranks[slot]
	n, exists := find(a.groups[slot], register)
	if !exists {
		a.addSegment(slot, n, item[int64]{register, rank})
		ranks[0]--
		ranks[rank]++
		return
	}
	items := a.groups[slot][n].items
	i, found := search(items, register)
	switch {
	case !found:
		a.put(slot, n, i, item[int64]{register, rank})
		ranks[0]--
	case items[i].value >= rank:
		return
	default:
		ranks[items[i].value]--
		items[i].value = rank
		a.touch(slot, n)
	}
	ranks[rank]++
}

// Remove implements Aggregate. An app cannot name the aggregator where rows leave.
func (a *approxDistinct) Remove(int, []Value) {}

// Result implements Aggregate.
func (a *approxDistinct) Result(slot int, out *Value) {
	a.ranks = grow(a.ranks, slot)
	*out = Value{}
	if ranks := a.ranks[slot]; ranks != nil {
		out.Int = int64(estimate(ranks) + .5)
	}
}

// estimate returns the number of different values. Each product is rounded before it is added,
// so that all processors have the same result.
func estimate(ranks *[rankMax + 1]int32) float64 {
	const half = 0.7213475204444817 // 1 / (2 ln 2)
	z := float64(registers * full(1-float64(ranks[rankMax])/registers))
	for k := rankMax - 1; k >= 1; k-- {
		z = float64(z+float64(ranks[k])) / 2
	}
	z += float64(registers * none(float64(ranks[0])/registers))
	return float64(half*registers*registers) / z
}

// none is σ of the paper: the part of the registers that are 0.
func none(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	z, y := x, 1.0
	for before := math.Inf(1); z != before; {
		x = float64(x * x)
		before = z
		z += float64(x * y)
		y += y
	}
	return z
}

// full is τ of the paper: 1 less the part of the registers that have the largest rank.
func full(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	z, y := 1-x, 1.0
	for before := math.Inf(1); z != before; {
		x = math.Sqrt(x)
		before = z
		y /= 2
		less := float64((1 - x) * (1 - x))
		z -= float64(less * y)
	}
	return z / 3
}

// Clear implements Aggregate.
func (a *approxDistinct) Clear(slot int) {
	a.ranks = grow(a.ranks, slot)
	a.ranks[slot] = nil
	a.multiset.Clear(slot)
}

// Empty implements Aggregate.
func (a *approxDistinct) Empty(slot int) bool {
	_, _, some := a.ends(slot)
	return !some
}

// AppendState writes the number of registers that are not 0, and each with its rank.
func (a *approxDistinct) AppendState(dst []byte, slot int) []byte {
	if a.Empty(slot) {
		return dst
	}
	return a.appendAll(dst, slot)
}

// LoadState implements Aggregate.
func (a *approxDistinct) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	items, err := a.read(src)
	if err == nil {
		a.fill(slot, items)
		a.count(slot)
	}
	return err
}

// read reads a group or a part of it.
func (a *approxDistinct) read(src []byte) ([]item[int64], error) {
	if len(src) == 0 {
		return nil, nil
	}
	r := readState(src)
	items := a.numbers(r, false)
	for _, it := range items {
		if !r.Failed() && (it.key < 0 || it.key >= registers || it.value > rankMax) {
			r.Fail("register %d has the rank %d", it.key, it.value)
		}
	}
	if len(items) == 0 {
		r.Fail("no registers, but that is written")
	}
	return items, r.end("approx:distinctCount")
}

// count counts the registers of a slot that was loaded.
func (a *approxDistinct) count(slot int) {
	a.groups, a.ranks = grow(a.groups, slot), grow(a.ranks, slot)
	if a.ranks[slot] = nil; a.Empty(slot) {
		return
	}
	ranks := &[rankMax + 1]int32{0: registers}
	for _, p := range a.groups[slot] {
		for _, it := range p.items {
			ranks[0]--
			ranks[it.value]++
		}
	}
	a.ranks[slot] = ranks
}

// AppendSegment implements Segmented. Each part is written as if it were a group.
func (a *approxDistinct) AppendSegment(dst []byte, slot int, name []byte) ([]byte, bool) {
	a.groups = grow(a.groups, slot)
	items := a.nameless(slot)
	if len(name) > 0 {
		items = a.named(slot, name)
	}
	if len(items) == 0 {
		return dst, len(name) == 0
	}
	return appendSome(dst, items), true
}

// LoadSegment implements Segmented.
func (a *approxDistinct) LoadSegment(slot int, name, src []byte) error {
	items, err := a.read(src)
	if err != nil {
		return err
	}
	if err := a.load(slot, name, items); err != nil {
		return fmt.Errorf("state of approx:distinctCount: %w", err)
	}
	return nil
}

// CheckSegments implements Segmented.
func (a *approxDistinct) CheckSegments(slot int) error {
	err := a.multiset.CheckSegments(slot)
	a.count(slot)
	return err
}
