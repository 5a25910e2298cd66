package aggregate

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// grow returns s with at least slot+1 elements; new ones are zero, which means an empty
// group to every aggregator.
func grow[T any](s []T, slot int) []T {
	if slot < len(s) {
		return s
	}
	return append(s, make([]T, slot+1-len(s))...)
}

// oneNumber accepts one numeric argument and returns the type that result gives it.
func oneNumber(result func(event.Type) event.Type) func([]event.Type) (event.Type, error) {
	return func(args []event.Type) (event.Type, error) {
		if len(args) != 1 {
			return 0, fmt.Errorf("it takes one argument, found %d", len(args))
		}
		if !args[0].Numeric() {
			return 0, fmt.Errorf("expected a number, found %s", args[0])
		}
		return result(args[0]), nil
	}
}

// real returns a numeric argument as a double.
func real(v *Value, class event.Class) float64 {
	if class == event.Reals {
		return v.Real
	}
	return float64(v.Int)
}
