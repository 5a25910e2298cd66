package state

// Hashed are some of the entries of a component, hashed so as to be loaded. Those of
// one component may be hashed in pieces, at the same time.
type Hashed struct {
	entries []Entry
	records []record // of the entries, in their order
	sum     Sum
}

// Hash hashes entries. They are the caller's, and must not change for as long as the
// result is in use. Their keys are copied together: the copy stays as long as one of
// them is known, so pieces should not have too many.
func Hash(entries []Entry) *Hashed {
	h := &Hashed{entries: entries, records: make([]record, len(entries))}
	size := 0
	for i := range entries {
		size += len(entries[i].Key)
	}
	all := make([]byte, 0, size)
	for i := range entries {
		all = append(all, entries[i].Key...)
	}
	keys := string(all)
	for i := range entries {
		e, n := &entries[i], len(entries[i].Key)
		hash := h.sum.hash(e.Key, e.Value)
		h.sum.add(hash)
		h.records[i] = record{key: keys[:n], hash: hash, live: true, old: true}
		keys = keys[n:]
	}
	return h
}

// DigestOfHashed returns the digest of all entries of the pieces.
func DigestOfHashed(pieces ...*Hashed) Digest {
	var s Sum
	for _, h := range pieces {
		s.addAll(&h.sum)
	}
	return s.Digest()
}
