package aggregate

import "encoding/binary"

// appendState writes the number of keys, then each key, as its distance from the
// one before, with its count. How keys are spread over blocks does not show.
func (m *multiset) appendState(dst []byte) []byte {
	n := 0
	for _, block := range m.blocks {
		n += len(block)
	}
	if n == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	before, first := int64(0), true
	for _, block := range m.blocks {
		for _, k := range block {
			dst = appendKey(dst, k.key, before, first)
			dst = binary.AppendUvarint(dst, uint64(k.count))
			before, first = k.key, false
		}
	}
	return dst
}

// loadMultiset reads what appendState wrote, into blocks that have room. Keys of
// reals are refused if no double has them.
func loadMultiset(src []byte, name string, reals bool) (multiset, error) {
	if len(src) == 0 {
		return multiset{}, nil
	}
	r := readState(src)
	n := r.items(2)
	if n == 0 {
		r.fail("no values, but that is written")
	}
	var m multiset
	var block msBlock
	before := int64(0)
	for i := range n {
		key := r.key(before, i == 0)
		if reals && realKey(keyReal(key)) != key {
			r.fail("no double has the key %d", key)
		}
		count := r.count()
		if r.err != nil {
			break
		}
		if i%(msBlockKeys/2) == 0 {
			if i > 0 {
				m.blocks = append(m.blocks, block)
			}
			block = make(msBlock, 0, min(n-i, msBlockKeys/2))
		}
		block = append(block, msKey{key, count})
		before = key
	}
	if err := r.end(name); err != nil {
		return multiset{}, err
	}
	m.blocks = append(m.blocks, block)
	return m, nil
}
