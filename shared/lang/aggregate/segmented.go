package aggregate

// Partitioned is an Aggregate whose state of one group can be large. It shows that state in
// parts, so that a change costs only the parts that it affects. Parts have names, and are
// entries of their own. The group's entry holds the part without a name: a small group has
// no other. The values alone decide which part each of them is in.
type Partitioned interface {
	Aggregate
	// ChangedParts calls visit with the name of every part that was put, changed or dropped
	// since the last call; the first call visits all parts. A name may come more than once,
	// and is valid during the call only. The part without a name is left out.
	ChangedParts(visit func(slot int, name []byte))
	// Parts calls visit with the names of all parts of the slot, except the part without a
	// name.
	Parts(slot int, visit func(name []byte))
	// AppendPart appends a part to dst; false if there is none of that name.
	AppendPart(dst []byte, slot int, name []byte) ([]byte, bool)
	// LoadPart adds a part, as AppendPart wrote it, to a slot that was cleared. Parts come
	// in any order. Wrong bytes are an error, and cost no more memory than their length
	// allows.
	LoadPart(slot int, name, src []byte) error
	// CheckParts ends the loading of a slot. It refuses parts that do not fit together.
	CheckParts(slot int) error
}
