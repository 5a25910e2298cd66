package frame

import (
	"encoding/binary"
	"math"
)

// Numbers are packed as offsets from the least of them, or from the least difference
// between neighbours, with the fewest bytes that the largest offset needs. Either form
// costs one addition per value to read, and constant columns and evenly spaced stamps
// (width 0) take no bytes for their values at all. Additions wrap around, so any int64 can
// follow any other.
//
// Times in whole seconds or minutes differ by multiples of that unit. Offsets are divided
// by the unit if that makes them shorter.
// wrap around, so any int64 can follow any other.
const (
	offsetsForm = 1 << 4 // least value, then an offset for each value
	deltasForm  = 2 << 4 // first value, least difference, then an offset for each further value
	unitsForm   = 3 << 4 // as deltasForm, with the unit after the least difference: offsets are in units
	widthMask   = 15     // 0, 1, 2, 4 or 8 bytes
)

// spread is what packing must know of the values.
type spread struct {
	min, max           int64
	minDelta, maxDelta int64
}

func spreadOf(vals []int64) spread {
	s := spread{min: vals[0], max: vals[0], minDelta: math.MaxInt64, maxDelta: math.MinInt64}
	last := vals[0]
	for _, v := range vals[1:] {
		delta := v - last
		last = v
		s.min, s.max = min(s.min, v), max(s.max, v)
		s.minDelta, s.maxDelta = min(s.minDelta, delta), max(s.maxDelta, delta)
	}
	if len(vals) == 1 {
		s.minDelta, s.maxDelta = 0, 0
	}
	return s
}

// widthOf returns the bytes that each offset up to max needs.
func widthOf(max uint64) int {
	switch {
	case max == 0:
		return 0
	case max <= math.MaxUint8:
		return 1
	case max <= math.MaxUint16:
		return 2
	case max <= math.MaxUint32:
		return 4
	default:
		return 8
	}
}

// appendInts packs values. There must be at least one.
func appendInts(dst []byte, vals []int64, s spread) []byte {
	width, deltaWidth := widthOf(uint64(s.max)-uint64(s.min)), widthOf(uint64(s.maxDelta)-uint64(s.minDelta))
	if least := min(width, deltaWidth); least > 1 {
		if unit := unitOf(vals, s.minDelta); unit > 1 {
			if w := widthOf((uint64(s.maxDelta) - uint64(s.minDelta)) / unit); w < least {
				return appendUnits(dst, vals, s.minDelta, unit, w)
			}
		}
	}
	if deltaWidth < width {
		dst = append(dst, deltasForm|byte(deltaWidth))
		dst = binary.AppendVarint(dst, vals[0])
		dst = binary.AppendVarint(dst, s.minDelta)
		return appendDeltas(dst, vals, s.minDelta, deltaWidth)
	}
	dst = append(dst, offsetsForm|byte(width))
	dst = binary.AppendVarint(dst, s.min)
	return appendOffsets(dst, vals, s.min, width)
}

// unitOf returns the greatest number that divides the distance of each difference from the
// least one.
func unitOf(vals []int64, least int64) uint64 {
	unit, last := uint64(0), vals[0]
	for _, v := range vals[1:] {
		offset := uint64(v) - uint64(last) - uint64(least)
		last = v
		if offset == 0 || unit > 0 && offset%unit == 0 {
			continue
		}
		for unit, offset = offset, unit; offset > 0; { // Euclid's algorithm
			unit, offset = offset, unit%offset
		}
		if unit == 1 {
			break
		}
	}
	return unit
}

func appendUnits(dst []byte, vals []int64, least int64, unit uint64, width int) []byte {
	dst = append(dst, unitsForm|byte(width))
	dst = binary.AppendVarint(dst, vals[0])
	dst = binary.AppendVarint(dst, least)
	dst = binary.AppendUvarint(dst, unit)
	last := vals[0]
	for _, v := range vals[1:] {
		offset := (uint64(v) - uint64(last) - uint64(least)) / unit
		last = v
		for range width {
			dst = append(dst, byte(offset))
			offset >>= 8
		}
	}
	return dst
}

func appendOffsets(dst []byte, vals []int64, least int64, width int) []byte {
	dst, out := extend(dst, len(vals)*width)
	switch width {
	case 1:
		for i, v := range vals {
			out[i] = byte(v - least)
		}
	case 2:
		for _, v := range vals {
			binary.LittleEndian.PutUint16(out, uint16(v-least))
			out = out[2:]
		}
	case 4:
		for _, v := range vals {
			binary.LittleEndian.PutUint32(out, uint32(v-least))
			out = out[4:]
		}
	case 8:
		for _, v := range vals {
			binary.LittleEndian.PutUint64(out, uint64(v-least))
			out = out[8:]
		}
	}
	return dst
}

func appendDeltas(dst []byte, vals []int64, least int64, width int) []byte {
	dst, out := extend(dst, (len(vals)-1)*width)
	last := vals[0] + least
	switch width {
	case 1:
		for i, v := range vals[1:] {
			out[i] = byte(v - last)
			last = v + least
		}
	case 2:
		for _, v := range vals[1:] {
			binary.LittleEndian.PutUint16(out, uint16(v-last))
			out, last = out[2:], v+least
		}
	case 4:
		for _, v := range vals[1:] {
			binary.LittleEndian.PutUint32(out, uint32(v-last))
			out, last = out[4:], v+least
		}
	}
	return dst
}

// ints fills dst, which has at least one element, with packed values.
func (r *reader) ints(dst []int64) {
	form := r.Byte()
	width := int(form & widthMask)
	if width > 8 || 1<<width&0b1_0001_0111 == 0 {
		r.Fail("width of %d bytes for a packed number", width)
		return
	}
	switch form &^ widthMask {
	case offsetsForm:
		least := r.Varint()
		readOffsets(dst, r.Bytes(len(dst)*width), least, width)
	case deltasForm:
		first, least := r.Varint(), r.Varint()
		readDeltas(dst, r.Bytes((len(dst)-1)*width), first, least, width)
	case unitsForm:
		first, least, unit := r.Varint(), r.Varint(), r.Uvarint()
		if unit < 2 {
			r.Fail("a unit of %d", unit)
		}
		readDeltas(dst, r.Bytes((len(dst)-1)*width), 0, 0, width) // sums of offsets
		for i := range dst {
			dst[i] = first + int64(i)*least + dst[i]*int64(unit)
		}
	default:
		r.Fail("form %d of packed numbers", form>>4)
	}
}

// readOffsets and readDeltas get no bytes if the payload had too few.
func readOffsets(dst []int64, src []byte, least int64, width int) {
	if len(src) < len(dst)*width {
		return
	}
	switch width {
	case 0:
		for i := range dst {
			dst[i] = least
		}
	case 1:
		src = src[:len(dst)]
		for i := range dst {
			dst[i] = least + int64(src[i])
		}
	case 2:
		for i := range dst {
			dst[i] = least + int64(binary.LittleEndian.Uint16(src))
			src = src[2:]
		}
	case 4:
		for i := range dst {
			dst[i] = least + int64(binary.LittleEndian.Uint32(src))
			src = src[4:]
		}
	case 8:
		for i := range dst {
			dst[i] = least + int64(binary.LittleEndian.Uint64(src))
			src = src[8:]
		}
	}
}

func readDeltas(dst []int64, src []byte, first, least int64, width int) {
	if len(src) < (len(dst)-1)*width {
		return
	}
	dst[0] = first
	dst = dst[1:]
	switch width {
	case 0:
		for i := range dst {
			first += least
			dst[i] = first
		}
	case 1:
		src = src[:len(dst)]
		for i := range dst {
			first += least + int64(src[i])
			dst[i] = first
		}
	case 2:
		for i := range dst {
			first += least + int64(binary.LittleEndian.Uint16(src))
			dst[i], src = first, src[2:]
		}
	case 4:
		for i := range dst {
			first += least + int64(binary.LittleEndian.Uint32(src))
			dst[i], src = first, src[4:]
		}
	case 8:
		for i := range dst {
			first += least + int64(binary.LittleEndian.Uint64(src))
			dst[i], src = first, src[8:]
		}
	}
}
