package main

import (
	"errors"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
)

func init() {
	function.Register(function.Spec{
		Name:  "clamp",
		Usage: "clamp(x double, low double, high double)",
		Result: func(args []event.Type) (event.Type, error) {
			if len(args) != 3 || args[0] != event.Double || args[1] != event.Double || args[2] != event.Double {
				return 0, errors.New("expected three doubles")
			}
			return event.Double, nil
		},
		Eval: func(args []function.Value, out *function.Value) {
			if args[0].Null || args[1].Null || args[2].Null {
				out.Null = true
				return
			}
			out.Real = min(max(args[0].Real, args[1].Real), args[2].Real)
		},
	})
}
