package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// The container of a component's entries: version, names, entries with their keys
// front-coded, digest, CRC. docs/formats/state.md describes every byte. Version and
// CRC keep their places in every version.
const (
	containerVersion  = 1
	containerBytesMin = 1 + wire.CRCBytes
	entryBytesMin     = 3 // a length each of shared bytes, key and value
)

// SerializeState returns all entries of a component, with its identity, their schema
// version and their digest. The same state always gives the same bytes. It fails for a
// holder whose info is not complete.
func SerializeState(h Holder) ([]byte, error) {
	info := h.Info()
	if err := info.check(); err != nil {
		return nil, err
	}
	changes := h.Snapshot().Changes()
	dst := append(make([]byte, 0, containerSize(changes)), containerVersion)
	dst = appendName(dst, info.ID)
	dst = appendName(dst, info.Type)
	dst = appendName(dst, info.Version.String())
	dst = binary.AppendUvarint(dst, uint64(len(changes)))
	var before []byte
	for i := range changes {
		dst = appendEntry(dst, before, changes[i].Key, changes[i].Value)
		before = changes[i].Key
	}
	digest := h.Digest()
	dst = append(dst, digest[:]...)
	return wire.AppendCRC(dst), nil
}

// containerSize is at least the size of the changes, if names are short.
func containerSize(changes []Change) int {
	n := 256
	for i := range changes {
		n += 3 + len(changes[i].Key) + len(changes[i].Value)
	}
	return n
}

func appendName(dst []byte, name string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(name))), name...)
}

func appendEntry(dst, before, key, value []byte) []byte {
	shared := 0
	for shared < len(before) && shared < len(key) && before[shared] == key[shared] {
		shared++
	}
	dst = binary.AppendUvarint(dst, uint64(shared))
	dst = binary.AppendUvarint(dst, uint64(len(key)-shared))
	dst = append(dst, key[shared:]...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// DeserializeState loads what SerializeState wrote into h, the component with the same id,
// and checks the digest of the entries. It fails with a *CorruptError, a *VersionError or
// an ErrInvalid; h is then unchanged or empty. The next delta of h is since epoch 0.
func DeserializeState(h Holder, data []byte) error {
	known := h.Info()
	box, err := readContainer(known.ID, data)
	if err != nil {
		return err
	}
	if box.info.ID != known.ID {
		return fmt.Errorf("%w: the state of component %q was given to %q", ErrInvalid, box.info.ID, known.ID)
	}
	if err := CheckCompatible(box.info, known); err != nil {
		return err
	}
	hashed := Hash(box.entries)
	if got := DigestOfHashed(hashed); got != box.digest {
		return &CorruptError{known.ID, fmt.Sprintf("digest of the entries is %s, %s was stored", got, box.digest), box.digestAt}
	}
	err = h.Load(0, box.info.Version, 1, hashed)
	var wrong *EntryError
	if errors.As(err, &wrong) {
		return &CorruptError{known.ID, wrong.what(), box.offsetOf(wrong.Key)}
	}
	return err
}

// container is what SerializeState wrote. Values refer to its bytes.
type container struct {
	info     Info
	entries  []Entry
	offsets  []int // of each entry
	digest   Digest
	digestAt int
}

// readContainer parses data for the component with the given id, which errors name.
func readContainer(id string, data []byte) (*container, error) {
	r := reader{wire.Checked(data, "state", containerBytesMin)}
	if version := r.Byte(); !r.Failed() && version != containerVersion {
		if version == 0 {
			r.FailAt(0, "version 0")
		} else {
			r.Stop(fmt.Errorf("%w: component %q: format version %d, known is %d; read it with the version that wrote it or a newer one",
				ErrVersion, id, version, containerVersion))
		}
	}
	box := &container{info: Info{ID: r.name(), Type: r.name()}}
	box.info.Version = r.version()
	r.entries(box)
	box.digestAt = r.Offset()
	copy(box.digest[:], r.Bytes(len(box.digest)))
	if r.End() != nil {
		return nil, r.corruption(id)
	}
	return box, nil
}

// offsetOf returns where the entry of the key starts; for none, the first.
func (b *container) offsetOf(key []byte) int {
	i := sort.Search(len(b.entries), func(i int) bool { return string(b.entries[i].Key) >= string(key) })
	if i < len(b.offsets) {
		return b.offsets[i]
	}
	return b.digestAt
}

// entries reads the entries, whose keys must ascend.
func (r *reader) entries(box *container) {
	n := r.Count(entryBytesMin)
	box.entries, box.offsets = make([]Entry, 0, n), make([]int, 0, n)
	var keys arena
	var key []byte
	for i := 0; i < n; i++ {
		at := r.Offset()
		shared := r.Uvarint()
		if shared > uint64(len(key)) {
			r.FailAt(at, "%d bytes shared with a key of %d", shared, len(key))
		}
		rest, value := r.Sized(), r.Sized()
		if r.Failed() {
			return
		}
		// Keys ascend, and shared bytes are never written again.
		if i > 0 && (len(rest) == 0 || shared < uint64(len(key)) && rest[0] <= key[shared]) {
			r.FailAt(at, "a key that does not follow the one before")
			return
		}
		key = append(key[:shared], rest...)
		box.entries = append(box.entries, Entry{keep(&keys, key), value})
		box.offsets = append(box.offsets, at)
	}
}
