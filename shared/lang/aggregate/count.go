package aggregate

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name:    "count",
		Version: "1.0.0",
		Usage:   "count() or count(x)",
		Doc:     "the number of rows",
		Result: func(args []event.Type) (event.Type, error) {
			if len(args) > 1 {
				return 0, fmt.Errorf("it takes at most one argument, found %d", len(args))
			}
			return event.Long, nil
		},
		New: func([]event.Type) Aggregate { return &count{} },
	})
}

// count counts rows, including nulls.
type count struct{ n []int64 }

func (a *count) Add(slot int, _ []Value) {
	a.n = grow(a.n, slot)
	a.n[slot]++
}

func (a *count) Remove(slot int, _ []Value) {
	a.n = grow(a.n, slot)
	a.n[slot]--
}

func (a *count) Result(slot int, out *Value) {
	a.n = grow(a.n, slot)
	out.Int, out.Null = a.n[slot], false
}

func (a *count) Clear(slot int) {
	a.n = grow(a.n, slot)
	a.n[slot] = 0
}

func (a *count) AppendState(dst []byte, slot int) []byte {
	a.n = grow(a.n, slot)
	if a.n[slot] == 0 {
		return dst
	}
	return binary.AppendVarint(dst, a.n[slot])
}

func (a *count) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	n := r.Varint()
	if n == 0 {
		r.Fail("a count of 0 that is written")
	}
	if err := r.end("count"); err != nil {
		return err
	}
	a.n[slot] = n
	return nil
}

// Empty implements Aggregate.
func (a *count) Empty(slot int) bool {
	a.n = grow(a.n, slot)
	return a.n[slot] == 0
}
