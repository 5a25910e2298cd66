package aggregate

// Sized is an Aggregate that estimates how much memory its groups take, besides a fixed
// size for each group. It looks at a sample of them, so that it may be asked often.
type Sized interface {
	Aggregate
	// Bytes estimates the memory.
	Bytes() int64
}

const sizedSome = 256 // groups in the sample

// bytes estimates the memory of all items, each of itemBytes.
func (p *segments[V]) bytes(itemBytes int64) int64 {
	return estimated(len(p.groups), func(slot int) (n int64) {
		for i := range p.groups[slot] {
			n += partBytes + int64(cap(p.groups[slot][i].items))*itemBytes
		}
		return n
	})
}

const partBytes = 40

// estimated adds up the sizes of a sample of n groups and extrapolates to all.
func estimated(n int, of func(slot int) int64) (sum int64) {
	step := n/sizedSome + 1
	asked := 0
	for slot := 0; slot < n; slot += step {
		sum += of(slot)
		asked++
	}
	return sum * int64(n) / int64(max(asked, 1))
}

// Bytes implements Sized.
func (m *multiset) Bytes() int64 {
	const numberWithCount = 16
	return m.bytes(numberWithCount)
}

// Bytes implements Sized.
func (a *distinctTexts) Bytes() int64 {
	const perText, some = 96, 16
	return estimated(len(a.texts), func(slot int) int64 {
		known, looked, length := a.texts[slot].known, 0, 0
		for text := range known {
			if length += len(text); looked == some {
				break
			}
			looked++
		}
		return int64(len(known)) * (perText + int64(length/max(looked, 1)))
	})
}
