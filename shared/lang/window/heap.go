package window

import "github.com/eventflux/eventflux/shared/lang/shrink"

// Heap is a binary heap whose first element comes before all others. Unlike
// container/heap it boxes nothing.
type Heap[T any, P interface {
	*T
	Before(P) bool
}] []T

// Push adds x.
func (h *Heap[T, P]) Push(x T) {
	*h = append(*h, x)
	t := *h
	for i := len(t) - 1; i > 0; {
		up := (i - 1) / 2
		if !P(&t[i]).Before(&t[up]) {
			break
		}
		t[i], t[up] = t[up], t[i]
		i = up
	}
}

// Pop removes and returns the first element. The heap must not be empty.
func (h *Heap[T, P]) Pop() T {
	t := *h
	n := len(t) - 1
	first := t[0]
	var zero T
	t[0], t[n] = t[n], zero
	*h = shrink.Slice(t[:n])
	t = *h
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if P(&t[child]).Before(&t[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		t[i], t[least] = t[least], t[i]
		i = least
	}
}
