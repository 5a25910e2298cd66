// Package model is a second, deliberately naive implementation of the language, written only from
// its description: boxed values, slices and maps, one row at a time, one function per rule. Tests
// compare the engine with it. Model and engine share only the checked plan. Numbers in comments are
// sections of that description.
//
// Read it in this order: model.go (clock, timers, routing), partition.go, query.go and selector.go,
// the windows, join.go, table.go, namedwindow.go, rate.go, pattern.go and sequence.go (their sections have a P), aggregate.go, expr.go. The
// file gen.go makes random apps, and input.go makes random input for them.
package model
