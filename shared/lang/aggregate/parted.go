package aggregate

// Parted is what an Aggregate adds whose state of one group can be large: it shows
// the state in parts, so that a change costs the parts that it falls into. Parts
// have names, and are entries of their own. What stands in the group's entry is the
// part without a name: a small group has no other. Which values are in which part
// follows from the values alone.
type Parted interface {
	Aggregate
	// ChangedParts calls visit with the name of every part that was put, changed or
	// dropped since it was called before: at first with all that there are. A name
	// may come more than once, and belongs to the callee during the call only. The
	// part without a name is not among them.
	ChangedParts(visit func(slot int, name []byte))
	// Parts calls visit with the names of all parts of the slot but the one without.
	Parts(slot int, visit func(name []byte))
	// AppendPart appends a part to dst; false if there is none of that name.
	AppendPart(dst []byte, slot int, name []byte) ([]byte, bool)
	// LoadPart adds a part, as AppendPart wrote it, to a slot that was cleared. Parts
	// come in any order. Bytes that are wrong are an error, and cost no more memory
	// than their length allows.
	LoadPart(slot int, name, src []byte) error
	// CheckParts ends the loading of a slot. It refuses parts that do not fit together.
	CheckParts(slot int) error
}
