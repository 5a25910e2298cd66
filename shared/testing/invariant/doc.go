// Package invariant checks what must always hold inside the services. The checks are part of a
// binary that is built with the tag invariants, as the fault tests do. A normal build has none.
//
// Check what a caller cannot see: an order, or that nothing refers to what was deleted. Input
// that can be wrong gets an error instead, in every build.
package invariant
