package aggregate

import (
	"math"
	"math/bits"
)

// realTotal is the exact sum of the doubles in it. A value that leaves takes away exactly
// what it added, whatever other values there are or were: no digits are lost, and a sum
// that passed through values beyond the range of double comes back. Values that are not
// finite are only counted.
//
// Nearly all sums are two doubles, hi + lo, where hi is the sum rounded to double (T. J.
// Dekker, A floating-point technique for extending the available precision, 1971). A sum
// that two doubles cannot hold is kept as digits in more. Which form a sum has follows
// from its value, so equal sums have equal states.
type realTotal struct {
	hi, lo float64
	n      int64
	more   *moreTotal // nil: all values were finite, and two doubles were enough
}

type moreTotal struct {
	nan, above, below int64
	digits            *digits // nil: never used
	wide              bool    // the sum is in digits, and not in hi and lo
}

// narrowMax bounds hi, so that no step of an addition of two doubles overflows.
const narrowMax = 0x1p1020

func (t *realTotal) add(v float64) {
	t.n++
	t.change(v, v, 1)
}

func (t *realTotal) remove(v float64) {
	t.n--
	t.change(v, -v, -1)
	if t.n == 0 {
		t.empty()
	}
}

// empty makes the sum of no values 0.
func (t *realTotal) empty() {
	t.hi, t.lo = 0, 0
	if t.more != nil {
		t.more.wide = false
	}
}

// change adds signed, which is v or -v, to the sum. If v is not finite, it adds by to the
// count of such values.
func (t *realTotal) change(v, signed float64, by int64) {
	if v-v != 0 { // NaN or infinite
		t.count(v, by)
		return
	}
	if t.more != nil && t.more.wide || !(math.Abs(t.hi) < narrowMax) || math.Abs(v) >= narrowMax {
		t.addWide(signed)
		return
	}
	var f float64
	s, l := twoSum(t.hi, signed)
	if t.lo != 0 {
		l, f = twoSum(t.lo, l)
		s, l = twoSum(s, l)
		l, f = twoSum(l, f)
		s, l = twoSum(s, l)
	}
	if f != 0 || math.Abs(s) >= narrowMax {
		t.addWide(signed)
		return
	}
	t.hi, t.lo = s, l
}

// twoSum returns a+b rounded, and what rounding took away (D. E. Knuth, The Art of
// Computer Programming 2, 4.2.2). The conversions keep the compiler from fusing steps.
func twoSum(a, b float64) (sum, err float64) {
	sum = float64(a + b)
	part := float64(sum - a)
	return sum, float64(float64(a-float64(sum-part)) + float64(b-part))
}

// addWide adds v to a sum that two doubles may be unable to hold.
func (t *realTotal) addWide(v float64) {
	if t.hi-t.hi != 0 {
		return // an earlier release let the sum overflow: it stays so until it is empty
	}
	m := t.moreOf()
	if m.digits == nil {
		m.digits = &digits{}
	}
	if !m.wide {
		*m.digits = digits{}
		m.digits.add(t.hi)
		m.digits.add(t.lo)
	}
	m.digits.add(v)
	t.hi, t.lo, m.wide = 0, 0, true
	if hi, lo, ok := m.digits.narrow(); ok {
		t.hi, t.lo, m.wide = hi, lo, false
	}
}

func (t *realTotal) moreOf() *moreTotal {
	if t.more == nil {
		t.more = &moreTotal{}
	}
	return t.more
}

func (t *realTotal) count(v float64, by int64) {
	m := t.moreOf()
	switch {
	case math.IsNaN(v):
		m.nan += by
	case v > 0:
		m.above += by
	default:
		m.below += by
	}
}

// total returns the sum, rounded once; ±Inf if double cannot hold it.
func (t *realTotal) total() float64 {
	if t.more == nil {
		return canonical(t.hi)
	}
	if odd, ok := t.more.odd(); ok {
		return odd
	}
	if t.more.wide {
		return t.more.digits.round(0)
	}
	return canonical(t.hi)
}

// mean returns the sum divided by the number of values. It is finite if all values are.
func (t *realTotal) mean() float64 {
	sum := t.total()
	if t.more != nil && t.more.wide && math.IsInf(sum, 0) {
		if _, odd := t.more.odd(); !odd {
			return math.Ldexp(t.more.digits.round(64)/float64(t.n), 64)
		}
	}
	return sum / float64(t.n)
}

// canonical turns every NaN into the same one, on every processor.
func canonical(v float64) float64 {
	if v != v {
		return math.NaN()
	}
	return v
}

// odd returns the sum if values that are not finite decide it.
func (m *moreTotal) odd() (sum float64, ok bool) {
	switch {
	case m.nan > 0 || m.above > 0 && m.below > 0:
		return math.NaN(), true
	case m.above > 0:
		return math.Inf(1), true
	case m.below > 0:
		return math.Inf(-1), true
	}
	return 0, false
}

const (
	digitBits  = 32
	digitMask  = 1<<digitBits - 1
	lowestBit  = -1074                                         // the exponent of the smallest double
	digitCount = (1024-lowestBit+64+digitBits-1)/digitBits + 1 // and room for 2^64 of the largest
)

// digits is a number in base 2^32, in units of the smallest double: the sum of
// digits[i]·2^(32i-1074). All but the last are from 0 to 2^32-1; the last has the sign. It
// holds any sum of doubles exactly.
type digits [digitCount]int64

func (d *digits) add(v float64) {
	b := math.Float64bits(v)
	e, m := int(b>>52&0x7ff), b&(1<<52-1)
	if e > 0 {
		e--
		m |= 1 << 52
	}
	i, shift := e/digitBits, e%digitBits
	low, high := m<<shift, m>>(64-shift)
	parts := [3]int64{int64(low & digitMask), int64(low >> digitBits), int64(high)}
	for k, p := range parts {
		if int64(b) < 0 {
			p = -p
		}
		d[i+k] += p
	}
	d.carry(i)
}

// carry brings the digits from i on into range.
func (d *digits) carry(i int) {
	for ; i < digitCount-1; i++ {
		over := d[i] >> digitBits
		d[i] -= over << digitBits
		d[i+1] += over
	}
}

func (d *digits) negate() {
	for i := range d {
		d[i] = -d[i]
	}
	d.carry(0)
}

// narrow returns the number as two doubles, the first of them rounded, if they can hold it.
func (d *digits) narrow() (hi, lo float64, ok bool) {
	if hi = d.round(0); math.Abs(hi) >= narrowMax {
		return 0, 0, false
	}
	rest := *d
	rest.add(-hi)
	lo = rest.round(0)
	rest.add(-lo)
	return hi, lo, rest == digits{}
}

// round returns the nearest double of the number divided by 2^scale; of two that are
// equally near, the even one.
func (d *digits) round(scale int) float64 {
	size := *d
	negative := d[digitCount-1] < 0
	if negative {
		size.negate()
	}
	top := digitCount - 1
	for top >= 0 && size[top] == 0 {
		top--
	}
	if top < 0 {
		return 0
	}
	at := func(i int) uint64 {
		if i < 0 {
			return 0
		}
		return uint64(size[i])
	}
	// The 64 highest bits; the last of them says whether there are more below.
	n := bits.Len64(at(top))
	below := at(top-1)<<digitBits | at(top-2)
	high := at(top)<<(64-n) | below>>n
	more := below<<(64-n) != 0
	for i := top - 3; i >= 0 && !more; i-- {
		more = size[i] != 0
	}
	if more {
		high |= 1
	}
	v := math.Ldexp(float64(high), top*digitBits+lowestBit-(64-n)-scale)
	if negative {
		return -v
	}
	return v
}
