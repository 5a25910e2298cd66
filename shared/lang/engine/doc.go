// Package engine runs a checked app (siddhiql.Plan) as a pure function: rows and
// the passing of time go in, output rows come out, and the same input always
// gives the same output to the byte. It reads no clock, starts no goroutine and
// knows no network; frames come from the write-ahead log by way of
// services/processor, or from a file by way of `eventflux replay`.
//
// Read engine.go (what drives it), query.go (filters, window), selector.go (what
// comes out), expr.go (how expressions are compiled), block.go (partitions) and
// task.go (frames of the log).
package engine
