//go:build !faultpoints

package faultpoint

import "time"

// Enabled says that points can do something.
const Enabled = false

// Reach says that the process has come to a point. It may not come any further.
func Reach(Point) {}

// ReachFrame says that a task is about to apply a frame: the point is frame.APP.PARTITION.SEQUENCE.
func ReachFrame(string, uint32, uint64) {}

// Fail is Reach, and returns an error if the step is to fail.
func Fail(Point) error { return nil }

// Span is a time that tests shorten: 0, as it is by default.
func Span(string) time.Duration { return 0 }

// Now is what the machine's clock says.
func Now() time.Time { return time.Now() }
