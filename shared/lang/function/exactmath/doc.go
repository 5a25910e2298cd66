// Package exactmath computes logarithms, powers, exponentials and angles with the same bits on
// every processor. Go's package math uses assembly on some processors, and its compiler fuses
// a multiplication and an addition into one rounding where the processor can. The functions
// here are those of package math (go1.26) in plain Go, where each product is converted to
// float64, which forbids to fuse it. LICENSE is Go's.
package exactmath

// The parts of a double.
const (
	mask  = 0x7ff
	shift = 64 - 11 - 1
	bias  = 1023
)
