// Package aggregate holds the aggregators of the language. An aggregator keeps its state
// for many groups at once, by a group's slot. Package engine decides which rows belong to
// which group.
//
// Each aggregator is a file that calls Register, such as count.go. A new one also gets a line in
// the table of state_test.go, which checks the laws of its state, and a row with an example in
// docs/language.md.
package aggregate

import "github.com/eventflux/eventflux/shared/lang/event"

// Value is an argument or a result of an aggregator, typed by Spec.Result and by
// the arguments' types. A text argument is valid during the call only.
type Value = event.Value

// Aggregate is one aggregator of one query (and partition key) over all groups.
// Slots are small numbers that the caller reuses; a slot not seen before is empty.
type Aggregate interface {
	// Add adds a row that enters the slot's group.
	Add(slot int, args []Value)
	// Remove removes a row that leaves the group.
	Remove(slot int, args []Value)
	// Result writes the group's current value.
	Result(slot int, out *Value)
	// Empty reports whether the slot is as it was before its first row. Its cost does not
	// depend on the number of rows in the group.
	Empty(slot int) bool
	// Clear empties the slot.
	Clear(slot int)
	// AppendState appends the slot's state to dst; an empty slot has no bytes. Equal states
	// have equal bytes, whatever their history.
	AppendState(dst []byte, slot int) []byte
	// LoadState replaces the slot's state by one that AppendState wrote. Wrong bytes are an
	// error, leave the slot empty, and cost no more memory than their length allows.
	LoadState(slot int, src []byte) error
}
