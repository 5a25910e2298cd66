// Package engine runs a checked app (siddhiql.Plan) as a pure function: rows and the
// passing of time go in, output rows come out, and the same input always gives the same
// output, byte for byte. It reads no clock, starts no goroutine and uses no network. Frames
// come from the write-ahead log through services/processor, or from a file through
// `eventflux replay`.
//
// Read engine.go (what drives it), query.go (filters, window), selector.go (what
// comes out), expr.go (how expressions are compiled), block.go (partitions) and
// task.go (frames of the log).
package engine
