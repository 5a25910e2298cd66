package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Digest tells states apart: equal digests mean the same entries. A state without entries
// has a digest that is not zero, so the zero Digest means no digest.
type Digest [16]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText returns the digest in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) {
		return fmt.Errorf("digest %q has %d characters, expected %d", text, len(text), 2*len(d))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("digest %q: %w", text, err)
	}
	return nil
}

// Sum keeps the digest of a set of entries while entries come and go, in any order.
// The zero Sum has no entries. It is for one goroutine at a time.
//
// Each entry has a hash of 128 bits, SHA-256 cut short. The hash is stretched to
// 1,024 bits by ChaCha8, and all entries are added up, 16 numbers of 64 bits. The
// digest is SHA-256, cut short, of the total. (M. Bellare and D. Micciancio, A New
// Paradigm for Collision-free Hashing: Incrementality at Reduced Cost, 1997.)
//
// Why so much? Anyone who publishes events writes keys and values. If hashes of 128 bits
// were XORed, some 128 entries and a little linear algebra would give two states with one
// digest; if they were added, Wagner's generalized birthday (2002) would do that with about
// 2^23 of them. With totals of 1,024 bits that takes about 2^64, as does guessing two
// entries or two totals with the same hash. A key would be cheaper, but then two clusters
// could not compare their digests.
type Sum struct {
	total   [16]uint64
	stretch rand.ChaCha8
	scratch []byte
}

// entryHash tells entries apart.
type entryHash [16]byte

// Add adds an entry that was not there.
func (s *Sum) Add(key, value []byte) { s.add(s.hash(key, value)) }

// Remove removes an entry that was there.
func (s *Sum) Remove(key, value []byte) { s.remove(s.hash(key, value)) }

func (s *Sum) hash(key, value []byte) entryHash {
	s.scratch = append(appendPair(s.scratch[:0], key), value...)
	return hashPair(s.scratch)
}

// Digest returns the digest of the present entries.
func (s *Sum) Digest() Digest {
	var raw [len(s.total) * 8]byte
	for i, v := range s.total {
		binary.LittleEndian.PutUint64(raw[8*i:], v)
	}
	hash := sha256.Sum256(raw[:])
	return Digest(hash[:16])
}

func (s *Sum) add(h entryHash) {
	s.seed(h)
	for i := range s.total {
		s.total[i] += s.stretch.Uint64()
	}
}

// addMany adds entries, on all cores if there are many.
func (s *Sum) addMany(hashes []entryHash) {
	var mu sync.Mutex
	inPieces((len(hashes)+batchChanges-1)/batchChanges, func(from, to int) {
		var some Sum
		for _, h := range hashes[from*batchChanges : min(to*batchChanges, len(hashes))] {
			some.add(h)
		}
		mu.Lock()
		defer mu.Unlock()
		s.addAll(&some)
	})
}

// removeMany removes entries.
func (s *Sum) removeMany(hashes []entryHash) {
	var some Sum
	some.addMany(hashes)
	for i := range s.total {
		s.total[i] -= some.total[i]
	}
}

// addAll adds all entries of another sum.
func (s *Sum) addAll(other *Sum) {
	for i := range s.total {
		s.total[i] += other.total[i]
	}
}

func (s *Sum) remove(h entryHash) {
	s.seed(h)
	for i := range s.total {
		s.total[i] -= s.stretch.Uint64()
	}
}

func (s *Sum) seed(h entryHash) {
	var seed [32]byte
	copy(seed[:], h[:])
	s.stretch.Seed(seed)
}

// DigestOf returns the digest of entries in any order.
func DigestOf(entries []Entry) Digest {
	var s Sum
	for _, e := range entries {
		s.Add(e.Key, e.Value)
	}
	return s.Digest()
}

// appendPair appends the start of the bytes to hash: the length of the key, and the key.
// The value must follow.
func appendPair(dst, key []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(key))), key...)
}

func hashPair(pair []byte) entryHash {
	hash := sha256.Sum256(pair)
	return entryHash(hash[:16])
}
