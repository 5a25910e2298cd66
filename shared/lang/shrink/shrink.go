// Package shrink decides when memory that a peak needed is given back. Slices, maps and heaps keep
// the room that they needed once, and most of them need it again with the next chunk. So room is
// given back only if it is large and nearly all of it is unused: to fill it took far more work
// than to make it once more.
package shrink

const (
	roomMin = 1 << 14 // elements; less is not worth making once more
	ratio   = 16
)

// Far reports whether far less than the room for so many elements is used.
func Far(used, room int) bool { return room > roomMin && ratio*used < room }

// Reset returns s without elements, to be filled again. It gives the memory back if the last use
// needed far less.
func Reset[S ~[]E, E any](s S) S {
	if Far(len(s), cap(s)) {
		return nil
	}
	return s[:0]
}

// Slice returns s, in less memory if it has room for far more elements.
func Slice[S ~[]E, E any](s S) S {
	if Far(len(s), cap(s)) {
		return append(make(S, 0, 2*len(s)), s...)
	}
	return s
}

// Map is a map that gives back the memory of entries that were deleted. A Go map never shrinks.
type Map[K comparable, V any] struct {
	M    map[K]V
	most int // entries that M has had
}

// Put sets the value of a key.
func (m *Map[K, V]) Put(k K, v V) {
	if m.M == nil {
		m.M = map[K]V{}
	}
	m.M[k] = v
	m.most = max(m.most, len(m.M))
}

// Delete deletes a key.
func (m *Map[K, V]) Delete(k K) {
	delete(m.M, k)
	if !Far(len(m.M), m.most) {
		return
	}
	less := make(map[K]V, 2*len(m.M))
	for k, v := range m.M {
		less[k] = v
	}
	m.M, m.most = less, len(less)
}
