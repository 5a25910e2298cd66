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
	g := intTotal{n: r.Varint(), sum: r.Varint()}
	if g == (intTotal{}) {
		r.Fail("an empty sum that is written")
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
	hiPart       = 1 << iota // 8 bytes
	loPart                   // 8 bytes
	oddPart                  // three varints: NaN, above, below
	digitsPart               // varints: the first digit, how many, the digits
	negativePart             // the digits are of a negative number
	allParts     = hiPart | loPart | oddPart | digitsPart | negativePart
)

// appendState writes the number of values, which parts follow, and the parts.
func (t *realTotal) appendState(dst []byte) []byte {
	m := t.more
	if m == nil {
		m = &moreTotal{}
	}
	var size digits
	parts := byte(0)
	if t.hi != 0 {
		parts |= hiPart
	}
	if t.lo != 0 {
		parts |= loPart
	}
	if m.nan != 0 || m.above != 0 || m.below != 0 {
		parts |= oddPart
	}
	if m.wide {
		parts |= digitsPart
		if size = *m.digits; size[digitCount-1] < 0 {
			parts |= negativePart
			size.negate()
		}
	}
	if parts == 0 && t.n == 0 {
		return dst
	}
	dst = append(binary.AppendVarint(dst, t.n), parts)
	if parts&hiPart != 0 {
		dst = appendFloat(dst, t.hi)
	}
	if parts&loPart != 0 {
		dst = appendFloat(dst, t.lo)
	}
	if parts&oddPart != 0 {
		dst = binary.AppendVarint(dst, m.nan)
		dst = binary.AppendVarint(dst, m.above)
		dst = binary.AppendVarint(dst, m.below)
	}
	if parts&digitsPart != 0 {
		dst = size.appendState(dst)
	}
	return dst
}

// appendState writes a number that is not negative, without the zeros at both ends.
func (d *digits) appendState(dst []byte) []byte {
	first, end := 0, digitCount
	for d[first] == 0 {
		first++
	}
	for d[end-1] == 0 {
		end--
	}
	dst = append(dst, byte(first), byte(end-first))
	for _, digit := range d[first:end] {
		dst = binary.AppendUvarint(dst, uint64(digit))
	}
	return dst
}

// load replaces an empty total by what appendState wrote. Version 1.0 of the state has two
// doubles, the sum and its compensation, where 1.1 has hi and lo: both mean their exact
// sum. A sum in version 1.0 may have overflowed; it stays so until it is empty.
func (t *realTotal) load(src []byte, name string) error {
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	n, parts := r.Varint(), r.Byte()
	got := realTotal{n: n}
	wide := parts&digitsPart != 0
	if parts&^allParts != 0 || parts == 0 && n == 0 || wide && parts&(hiPart|loPart) != 0 || !wide && parts&negativePart != 0 {
		r.Fail("parts %b of %d values", parts, n)
	}
	var hi, lo float64
	if parts&hiPart != 0 {
		hi = r.part()
	}
	if parts&loPart != 0 {
		lo = r.part()
	}
	if parts&oddPart != 0 {
		m := got.moreOf()
		m.nan, m.above, m.below = r.Varint(), r.Varint(), r.Varint()
		if *m == (moreTotal{}) {
			r.Fail("counts of values that are not finite, all 0")
		}
	}
	switch {
	case wide:
		got.loadDigits(r, parts&negativePart != 0)
	case hi-hi != 0:
		got.hi = hi
	case lo-lo != 0:
		got.hi = lo
	default:
		got.change(hi, hi, 1)
		got.change(lo, lo, 1)
	}
	if err := r.end(name); err != nil {
		return err
	}
	*t = got
	return nil
}

func (t *realTotal) loadDigits(r *stateBytes, negative bool) {
	d := &digits{}
	first, count := int(r.Byte()), int(r.Byte())
	if count == 0 || first+count > digitCount {
		r.Fail("%d digits from %d on", count, first)
		return
	}
	for i := range count {
		digit := r.Uvarint()
		if digit > digitMask || digit == 0 && (i == 0 || i == count-1) {
			r.Fail("digit %d of a sum is %d", i, digit)
			return
		}
		d[first+i] = int64(digit)
	}
	if negative {
		d.negate()
	}
	if _, _, ok := d.narrow(); ok {
		r.Fail("digits of a sum that two doubles hold")
		return
	}
	m := t.moreOf()
	m.digits, m.wide = d, true
}

// part reads a double that appendState writes: neither 0 nor a second form of NaN.
func (r *stateBytes) part() float64 {
	v := r.Float()
	bits := math.Float64bits(v)
	if !r.Failed() && (bits == 0 || v != v && bits != math.Float64bits(math.NaN())) {
		r.Fail("a part of a sum that is %x", bits)
	}
	return v
}

// Empty implements Aggregate.
func (a *intSum) Empty(slot int) bool {
	a.groups = grow(a.groups, slot)
	return a.groups[slot] == (intTotal{})
}

// Empty implements Aggregate.
func (a *realSum) Empty(slot int) bool {
	var state [64]byte
	return len(a.AppendState(state[:0], slot)) == 0
}

// Empty implements Aggregate.
func (a *average) Empty(slot int) bool {
	var state [64]byte
	return len(a.AppendState(state[:0], slot)) == 0
}
