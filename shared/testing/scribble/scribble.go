// Package scribble overwrites memory that is about to be used again, so that code
// which keeps a piece of it too long gives wrong results in every test, and not only
// when the next content happens to differ. It works in builds with the race detector,
// as those of make test, and in builds with the tag scribble. In all other builds it
// does nothing and costs nothing.
package scribble

import "bytes"

// filler is no valid UTF-8, no small number and no plausible length.
const filler = 0xdb

// Bytes overwrites b.
func Bytes(b []byte) {
	if On {
		for i := range b {
			b[i] = filler
		}
	}
}

// Numbers overwrites v.
func Numbers[T int64 | uint64 | float64 | uint32](v []T) {
	if On {
		for i := range v {
			v[i] = T(0x5bdb5bdb)
		}
	}
}

// Lend returns b, or a copy of it where scribbling is on: the caller gives the result
// to code that may use it for one call, and then calls Bytes.
func Lend(b []byte) []byte {
	if !On {
		return b
	}
	return bytes.Clone(b)
}
