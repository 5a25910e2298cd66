package main

import (
	"encoding/binary"
	"errors"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	aggregate.Register(aggregate.Spec{
		Name:    "spread",
		Version: "1.0.0",
		Usage:   "spread(x double)",
		Result: func(args []event.Type) (event.Type, error) {
			if len(args) != 1 || args[0] != event.Double {
				return 0, errors.New("expected one double")
			}
			return event.Double, nil
		},
		New: func(args []event.Type) aggregate.Aggregate {
			least, _ := aggregate.Lookup("min")
			most, _ := aggregate.Lookup("max")
			return &spread{least.New(args), most.New(args)}
		},
	})
}

// spread is the distance between the largest and the smallest value of a group.
// It is made of two aggregators that know how to let values go.
type spread struct{ least, most aggregate.Aggregate }

func (a *spread) Add(slot int, args []aggregate.Value) {
	a.least.Add(slot, args)
	a.most.Add(slot, args)
}

func (a *spread) Remove(slot int, args []aggregate.Value) {
	a.least.Remove(slot, args)
	a.most.Remove(slot, args)
}

func (a *spread) Result(slot int, out *aggregate.Value) {
	var least aggregate.Value
	a.least.Result(slot, &least)
	a.most.Result(slot, out)
	out.Real -= least.Real
}

// Empty says that a group is at its start, where it need not be kept.
func (a *spread) Empty(slot int) bool { return a.most.Empty(slot) }

func (a *spread) Clear(slot int) {
	a.least.Clear(slot)
	a.most.Clear(slot)
}

// AppendState writes the state of both, the first with its length.
func (a *spread) AppendState(dst []byte, slot int) []byte {
	least := a.least.AppendState(nil, slot)
	dst = binary.AppendUvarint(dst, uint64(len(least)))
	return a.most.AppendState(append(dst, least...), slot)
}

func (a *spread) LoadState(slot int, src []byte) error {
	size, n := binary.Uvarint(src)
	if n <= 0 || size > uint64(len(src)-n) {
		return errors.New("spread: the state is cut off")
	}
	if err := a.least.LoadState(slot, src[n:n+int(size)]); err != nil {
		return err
	}
	return a.most.LoadState(slot, src[n+int(size):])
}
