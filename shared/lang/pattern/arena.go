package pattern

import "encoding/binary"

// arena holds the bytes of many matches in large pieces without pointers, so that the garbage
// collector reads none of them. Each class has blocks of one size. Large blocks are slices of
// their own.
type arena struct {
	classes   [blockClasses]blockClass
	large     [][]byte
	freeLarge []block
}

type blockClass struct {
	slabs [][]byte
	used  uint32 // blocks that were ever used
	free  block  // the first free block; it starts with the next one
}

// block is a piece of memory in an arena: its class in the upper bits, and its number in the class,
// from 1. 0 stands for no block.
type block uint32

const (
	blockClasses = 13 // of 16, 24, 32, 48, 64 … 1,024 bytes
	largeBlocks  = blockClasses
	blockIDBits  = 28
)

// classOf returns the smallest class with blocks of at least n bytes.
func classOf(n int) int {
	for class := range blockClasses {
		if n <= blockSize(class) {
			return class
		}
	}
	return largeBlocks
}

func blockSize(class int) int {
	size := 16 << (class / 2)
	return size + class%2*size/2
}

// slabShift is the logarithm of how many blocks a slab has: about 16 KiB.
func slabShift(class int) int { return 10 - class/2 }

func (b block) class() int { return int(b >> blockIDBits) }

func (b block) index() uint32 { return uint32(b)&(1<<blockIDBits-1) - 1 }

// bytes returns all bytes of a block.
func (a *arena) bytes(b block) []byte {
	class := b.class()
	if class == largeBlocks {
		return a.large[b.index()]
	}
	shift := slabShift(class)
	size := uint32(blockSize(class))
	at := b.index() & (1<<shift - 1) * size
	return a.classes[class].slabs[b.index()>>shift][at : at+size : at+size]
}

// alloc returns a block of at least n bytes.
func (a *arena) alloc(n int) block {
	class := classOf(n)
	if class == largeBlocks {
		return a.allocLarge(n)
	}
	c := &a.classes[class]
	if b := c.free; b != 0 {
		c.free = block(binary.LittleEndian.Uint32(a.bytes(b)))
		return b
	}
	shift := slabShift(class)
	if c.used == uint32(len(c.slabs))<<shift {
		c.slabs = append(c.slabs, make([]byte, blockSize(class)<<shift))
	}
	c.used++
	return block(uint32(class)<<blockIDBits | c.used)
}

func (a *arena) allocLarge(n int) block {
	if last := len(a.freeLarge) - 1; last >= 0 {
		b := a.freeLarge[last]
		a.freeLarge = a.freeLarge[:last]
		a.large[b.index()] = make([]byte, n)
		return b
	}
	a.large = append(a.large, make([]byte, n))
	return block(largeBlocks<<blockIDBits | uint32(len(a.large)))
}

// release makes a block free again.
func (a *arena) release(b block) {
	class := b.class()
	if class == largeBlocks {
		a.large[b.index()] = nil
		a.freeLarge = append(a.freeLarge, b)
		return
	}
	binary.LittleEndian.PutUint32(a.bytes(b), uint32(a.classes[class].free))
	a.classes[class].free = b
}
