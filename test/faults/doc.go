// Package faults runs the real binary as a process of its own and lets go wrong
// what can: kills at random moments, stops, wrong starts, damaged and full disks.
// Whatever happens, the output streams must hold what `eventflux replay` makes of
// the same events offline, each result once and in order; where that cannot be,
// the process must say so. How the language computes results is test/model's
// business.
//
// The long form, which `make faults` runs, has more kills and events and a binary
// with the race detector.
package faults
