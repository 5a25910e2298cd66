//go:build !invariants

package invariant

// Enabled says whether invariants are checked. Where a check needs work of its own, do that work
// only if it is true.
const Enabled = false

// That panics unless the condition holds. The text says what does not hold.
func That(bool, string, ...any) {}
