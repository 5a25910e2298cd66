package aggregate

// Segmented is an Aggregate whose state of one group can be large. It shows that state in
// segments, so that a change costs only the segments that it affects. Segments have names, and are
// entries of their own. The group's entry holds the segment without a name: a small group has
// no other. The values alone decide which segment each of them is in.
type Segmented interface {
	Aggregate
	// ChangedSegments calls visit with the name of every segment that was put, changed or dropped
	// since the last call; the first call visits all segments. A name may come more than once,
	// and is valid during the call only. The segment without a name is left out.
	ChangedSegments(visit func(slot int, name []byte))
	// Segments calls visit with the names of all segments of the slot, except the segment without a
	// name.
	Segments(slot int, visit func(name []byte))
	// AppendSegment appends a segment to dst; false if there is none of that name.
	AppendSegment(dst []byte, slot int, name []byte) ([]byte, bool)
	// LoadSegment adds a segment, as AppendSegment wrote it, to a slot that was cleared. Segments come
	// in any order. Wrong bytes are an error, and cost no more memory than their length
	// allows.
	LoadSegment(slot int, name, src []byte) error
	// CheckSegments ends the loading of a slot. It refuses segments that do not fit together.
	CheckSegments(slot int) error
}
