//go:build invariants

package invariant

import "fmt"

// Enabled says whether invariants are checked. Where a check needs work of its own, do that work
// only if it is true.
const Enabled = true

// That panics unless the condition holds. The text says what does not hold.
func That(holds bool, format string, args ...any) {
	if !holds {
		panic("invariant: " + fmt.Sprintf(format, args...))
	}
}
