package aggregate

import (
	"encoding/binary"
	"math"
)

func (a *intSum) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	if *g == (intTotal{}) {
		return dst
	}
	return binary.AppendVarint(binary.AppendVarint(dst, g.n), g.sum)
}

func (a *intSum) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	g := intTotal{n: r.varint(), sum: r.varint()}
	if g == (intTotal{}) {
		r.fail("an empty sum that is written")
	}
	if err := r.end("sum"); err != nil {
		return err
	}
	a.groups[slot] = g
	return nil
}

func (a *realSum) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	return a.groups[slot].appendState(dst)
}

func (a *realSum) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	return a.groups[slot].load(src, "sum")
}

func (a *average) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	return a.groups[slot].appendState(dst)
}

func (a *average) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	return a.groups[slot].load(src, "avg")
}

// The parts of a sum of doubles that are written if they are not 0.
const (
	sumPart  = 1 << iota // 8 bytes
	lostPart             // 8 bytes
	oddPart              // three varints: NaN, above, below
	allParts = sumPart | lostPart | oddPart
)

// appendState writes the number of values, which parts follow, and the parts.
// Sum and compensation keep every bit: what comes next is added to both.
func (t *realTotal) appendState(dst []byte) []byte {
	parts := byte(0)
	if math.Float64bits(t.sum) != 0 {
		parts |= sumPart
	}
	if math.Float64bits(t.lost) != 0 {
		parts |= lostPart
	}
	if t.odd != nil {
		parts |= oddPart
	}
	if parts == 0 && t.n == 0 {
		return dst
	}
	dst = append(binary.AppendVarint(dst, t.n), parts)
	if parts&sumPart != 0 {
		dst = appendFloat(dst, t.sum)
	}
	if parts&lostPart != 0 {
		dst = appendFloat(dst, t.lost)
	}
	if t.odd != nil {
		dst = binary.AppendVarint(dst, t.odd.nan)
		dst = binary.AppendVarint(dst, t.odd.above)
		dst = binary.AppendVarint(dst, t.odd.below)
	}
	return dst
}

// load replaces an empty total by what appendState wrote.
func (t *realTotal) load(src []byte, name string) error {
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	n, parts := r.varint(), r.byte()
	got := realTotal{n: n}
	if parts&^allParts != 0 || parts == 0 && n == 0 {
		r.fail("parts %b of %d values", parts, n)
	}
	if parts&sumPart != 0 {
		got.sum = r.part()
	}
	if parts&lostPart != 0 {
		got.lost = r.part()
	}
	if parts&oddPart != 0 {
		got.odd = &oddCounts{nan: r.varint(), above: r.varint(), below: r.varint()}
		if *got.odd == (oddCounts{}) {
			r.fail("counts of values that are not finite, all 0")
		}
	}
	if err := r.end(name); err != nil {
		return err
	}
	*t = got
	return nil
}

// part reads a double that appendState writes: neither 0 nor a second form of NaN.
func (r *stateBytes) part() float64 {
	v := r.float()
	bits := math.Float64bits(v)
	if r.err == nil && (bits == 0 || v != v && bits != math.Float64bits(math.NaN())) {
		r.fail("a part of a sum that is %x", bits)
	}
	return v
}
