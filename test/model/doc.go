// Package model is a second, deliberately naive implementation of the language,
// written from its description alone: boxed values, slices and maps, one row at
// a time, one function to a rule. It is the oracle that tests compare the engine
// with, and it shares no code with it beyond the checked plan. Numbers in
// comments are sections of that description.
//
// Read it in this order: model.go (clock, timers, routing), partition.go,
// query.go and selector.go, the windows, pattern.go and sequence.go (their sections have a P),
// aggregate.go, expr.go. The file gen.go
// makes random apps and input.go random input for them.
package model
