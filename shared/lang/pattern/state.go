package pattern

import "encoding/binary"

// The state has an entry for each partial match that differs from a new one, and one that says
// whether the only attempt, or the wait at the start, has started. Lists, buckets, deadlines and
// the order of expiry are derived from the entries.
//
//	"m" number    flags, lo, hi, arrivals, times, counts, sides with deadlines, events
//	"f"           1, once it has started

const (
	keyMatch = 'm'
	keyBegun = 'f'
)

func matchKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyMatch), number)
}

// Number returns the number of a match from the key of its entry; false if the key is not of a
// match.
func Number(key []byte) (uint64, bool) {
	if len(key) != 9 || key[0] != keyMatch {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// Changed implements state.Source.
func (x *Matcher) Changed(visit func(key []byte)) { x.entries.changedKeys(x.mc, visit) }

// Keys implements state.Source.
func (x *Matcher) Keys(visit func(key []byte)) { x.entries.keys(visit) }

// Append implements state.Source.
func (x *Matcher) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyBegun {
		return append(dst, 1), x.entries.spent
	}
	number, ok := Number(key)
	if !ok {
		return dst, false
	}
	m := x.entries.find(x.mc, number)
	if m == nil {
		return dst, false
	}
	return x.mc.entry(m).append(dst), true
}

// Bytes implements state.Source.
func (x *Matcher) Bytes() int64 {
	const perMatch, some = 170, 256
	n, asked := int64(0), int64(0)
	for i := 0; i < len(x.entries.all); i += len(x.entries.all)/some + 1 {
		if id := x.entries.all[i].match; id > 0 {
			m := x.mc.match(id - 1)
			n += int64(m.size) + 4*int64(len(x.mc.counts(m)))
			asked++
		}
	}
	return (n/max(asked, 1) + perMatch) * int64(x.Len())
}
