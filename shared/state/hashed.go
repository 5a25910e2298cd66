package state

// Hashed are some of the entries of a component, hashed for loading. Pieces of one
// component may be hashed at the same time.
type Hashed struct {
	entries []Entry
	records []record // of the entries, in their order
	sum     Sum
}

// Hash hashes entries. The caller owns them, and must not change them while the result is
// in use. Their keys are copied together: the copy stays as long as one of them is known,
// so pieces should not be too large.
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
