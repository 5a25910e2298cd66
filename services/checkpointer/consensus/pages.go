package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
)

// The layout of a bbolt file, version 2. Numbers have the byte order of the machine.
//
//	page      id 8, flags 2, elements 2, pages that follow it 4; then the elements
//	meta      magic 4, version 4, page size 4, flags 4, root page 8, sequence 8,
//	          free list's page 8, pages 8, transaction 8, FNV-1a of the 56 bytes before 8
//	branch    element: offset of the key from here 4, bytes of the key 4, page 8
//	leaf      element: flags 4, offset of the key from here 4, bytes of key and value 4 + 4
//	free list the ids of the pages, 8 each; with 0xffff elements, the first has their number
//	bucket    value of a leaf element: root page 8, sequence 8; with root 0, a page follows
const (
	pageHead    = 16
	metaSummed  = 56
	metaBytes   = metaSummed + 8
	elementSize = 16

	flagBranch, flagLeaf, flagFreelist = 1, 2, 16
	leafBucket                         = 1 // flag of a leaf element

	pageSizeMin, pageSizeMax = 512, 64 << 10
	depthMax                 = 64
)

// pages checks the structure of a bbolt file in memory. bbolt itself trusts the pages: with
// damaged ones it panics, faults outside of the file, or overwrites pages that are in use.
type pages struct {
	data     []byte
	size     int // of a page
	count    uint64
	freelist uint64
	used     map[uint64]bool
}

// checkStructure returns a damageError if the file exists and its pages do not form a
// database. That includes a damaged meta page: bbolt would use the other one, without the
// last transaction, and lose a vote or a committed entry. A killed process does not leave a
// damaged meta page, because it is written as one sector.
func checkStructure(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	p := &pages{data: data, used: map[uint64]bool{0: true, 1: true}}
	root, err := p.metas()
	if err != nil {
		return err
	}
	if p.count < 2 || p.count > uint64(len(data)/p.size) {
		return damagef("it has %d bytes, and %d pages of %d", len(data), p.count, p.size)
	}
	if err := p.tree(root, nil, nil, 0); err != nil {
		return err
	}
	return p.free()
}

// metas checks the two meta pages and uses the newer one.
func (p *pages) metas() (root uint64, err error) {
	var newest uint64
	for i, at := 0, pageHead; i < 2; i++ {
		if at+metaBytes > len(p.data) {
			return 0, damagef("it has %d bytes, and no meta page %d", len(p.data), i)
		}
		meta := p.data[at : at+metaBytes]
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:metaSummed])
		if sum.Sum64() != binary.NativeEndian.Uint64(meta[metaSummed:]) {
			return 0, damagef("meta page %d has a wrong checksum", i)
		}
		p.size = int(binary.NativeEndian.Uint32(meta[8:]))
		if p.size < pageSizeMin || p.size > pageSizeMax {
			return 0, damagef("meta page %d has pages of %d bytes", i, p.size)
		}
		if tx := binary.NativeEndian.Uint64(meta[48:]); i == 0 || tx > newest {
			newest, root = tx, binary.NativeEndian.Uint64(meta[16:])
			p.freelist, p.count = binary.NativeEndian.Uint64(meta[32:]), binary.NativeEndian.Uint64(meta[40:])
		}
		if flags := binary.NativeEndian.Uint16(p.data[at-pageHead+8:]); flags != 4 {
			return 0, damagef("meta page %d has the flags %#x", i, flags)
		}
		at += p.size
	}
	return root, nil
}

// page returns a page with its overflow pages, and marks all of them as used.
func (p *pages) page(id uint64) ([]byte, error) {
	if id < 2 || id >= p.count {
		return nil, damagef("page %d of %d is used", id, p.count)
	}
	at := id * uint64(p.size)
	head := p.data[at : at+pageHead]
	if got := binary.NativeEndian.Uint64(head); got != id {
		return nil, damagef("page %d says that it is page %d", id, got)
	}
	end := id + 1 + uint64(binary.NativeEndian.Uint32(head[12:]))
	if end > p.count {
		return nil, damagef("page %d has %d pages after it, of %d", id, end-id-1, p.count)
	}
	for i := id; i < end; i++ {
		if p.used[i] {
			return nil, damagef("page %d is used twice", i)
		}
		p.used[i] = true
	}
	return p.data[at : end*uint64(p.size)], nil
}

// tree checks a page and those below it. Its keys are at least from, and less than to.
func (p *pages) tree(id uint64, from, to []byte, depth int) error {
	page, err := p.page(id)
	if err != nil {
		return err
	}
	if depth > depthMax {
		return damagef("page %d is deeper than %d pages", id, depthMax)
	}
	return p.elements(fmt.Sprintf("page %d", id), page, from, to, depth)
}

func (p *pages) elements(name string, page, from, to []byte, depth int) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return damagef("%s has the flags %#x", name, flags)
	}
	if flags == flagBranch && count == 0 || pageHead+count*elementSize > len(page) {
		return damagef("%s of %d bytes has %d elements", name, len(page), count)
	}
	var children []uint64
	var keys [][]byte
	next := uint64(count) * elementSize // where bbolt puts the first key: a smaller count would hide the last ones
	for i := range count {
		e := page[pageHead+i*elementSize:]
		number := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(e[at:])) }
		at, keyBytes, valueBytes := number(0), number(4), uint64(0)
		if flags == flagLeaf {
			at, keyBytes, valueBytes = number(4), number(8), number(12)
		}
		if uint64(i)*elementSize+at != next || at+keyBytes+valueBytes > uint64(len(e)) {
			return damagef("element %d of %s is outside of it, or does not follow the one before", i, name)
		}
		next += keyBytes + valueBytes
		key, value := e[at:at+keyBytes], e[at+keyBytes:at+keyBytes+valueBytes]
		if i > 0 && bytes.Compare(keys[i-1], key) >= 0 || i == 0 && bytes.Compare(key, from) < 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return damagef("the key of element %d of %s is out of order", i, name)
		}
		keys = append(keys, key)
		switch {
		case flags == flagBranch:
			children = append(children, binary.NativeEndian.Uint64(e[8:]))
		case number(0) == leafBucket:
			if err := p.bucket(fmt.Sprintf("bucket %q", key), value, depth); err != nil {
				return err
			}
		case number(0) != 0:
			return damagef("element %d of %s has the flags %#x", i, name, number(0))
		}
	}
	for i, child := range children {
		after := to
		if i+1 < len(keys) {
			after = keys[i+1]
		}
		if err := p.tree(child, keys[i], after, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) bucket(name string, value []byte, depth int) error {
	if len(value) < 16 {
		return damagef("%s has %d bytes", name, len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.tree(root, nil, nil, depth+1)
	}
	inline := value[16:]
	if len(inline) < pageHead || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return damagef("%s has no page of its own", name)
	}
	return p.elements(name, inline, nil, nil, depth+1)
}

// free checks that each page is either used or free.
func (p *pages) free() error {
	if p.freelist == math.MaxUint64 { // the file has no list
		return nil
	}
	page, err := p.page(p.freelist)
	if err != nil {
		return err
	}
	if flags := binary.NativeEndian.Uint16(page[8:]); flags != flagFreelist {
		return damagef("the list of free pages has the flags %#x", flags)
	}
	ids, count := page[pageHead:], uint64(binary.NativeEndian.Uint16(page[10:]))
	if count == math.MaxUint16 {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damagef("the list of free pages has %d of them in %d bytes", count, len(ids))
	}
	for i := range count {
		id := binary.NativeEndian.Uint64(ids[8*i:])
		if id >= p.count || p.used[id] {
			return damagef("page %d is free, and it is used or not there", id)
		}
		p.used[id] = true
	}
	if lost := p.count - uint64(len(p.used)); lost > 0 {
		return damagef("%d pages are neither used nor free", lost)
	}
	return nil
}
