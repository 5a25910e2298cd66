package streamfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/minio/highwayhash"
)

// A block is a sequence of records:
//
//	length(4) sequence(8) stamp(8) length of the subject(2) subject [length of the header(4) header] data hash(8)
//
// The hash covers everything but the three lengths. nats-server 2.15 is the source of this
// (server/filestore.go); an unknown form is damage to it, and to us.
const (
	headBytes      = 22
	hashBytes      = 8
	recordBytesMin = headBytes + hashBytes
	recordBytesMax = 32 << 20
	// blockBytesMax is far more than a server puts into a block. A file may hold no more,
	// so that one with a wrong size takes no memory.
	blockBytesMax = 128 << 20

	withHeader    = 1 << 31 // of the length
	erasedFlag    = 1 << 63 // of the sequence: the message was removed
	tombstoneFlag = 1 << 62 // of the sequence: another record was removed
)

// headerStart and headerEnd enclose the header of a NATS message.
var (
	headerStart = []byte("NATS/1.0")
	headerEnd   = []byte("\r\n\r\n")
)

// record is one record of a block. Its slices are parts of the block.
type record struct {
	at, size          int // in the file
	seq               uint64
	erased, tombstone bool
	stamp             int64
	subject, data     []byte
}

// message reports whether the record holds a message.
func (r *record) message() bool { return !r.erased && !r.tombstone && r.seq > 0 }

// block is the content of a block's file.
type block struct {
	buf  []byte
	hash hash.Hash64
	sum  [hashBytes]byte
	// accepts reports whether a message of the stream can have a subject with a header; nil: any.
	accepts func(subject, header []byte) bool
}

func newBlock(stream string, index uint32, buf []byte) (*block, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		return nil, err
	}
	return &block{buf: buf, hash: h}, nil
}

// compressed reports whether the server compressed the block. None of EventFlux's is.
func (b *block) compressed() bool {
	return len(b.buf) >= 5 && string(b.buf[:3]) == "cmp" && b.buf[3] == 1
}

// read returns the record at an offset, or why there is none.
func (b *block) read(at int) (r record, why string) {
	rest := b.buf[at:]
	if len(rest) < recordBytesMin {
		return r, fmt.Sprintf("%d bytes are too few for a record", len(rest))
	}
	length, seq := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint64(rest[4:])
	size, subject := int(length&^withHeader), int(binary.LittleEndian.Uint16(rest[20:]))
	if size < recordBytesMin || size > recordBytesMax || size > len(rest) {
		return r, fmt.Sprintf("a record of %d bytes where %d are left", size, len(rest))
	}
	body := rest[headBytes : size-hashBytes]
	header := 0
	if length&withHeader != 0 {
		header = 4
	}
	if subject+header > len(body) {
		return r, fmt.Sprintf("a subject of %d bytes in a record of %d", subject, size)
	}
	b.hash.Reset()
	_, _ = b.hash.Write(rest[4:20]) // a hash never fails
	_, _ = b.hash.Write(body[:subject])
	_, _ = b.hash.Write(body[subject+header:])
	if !bytes.Equal(b.hash.Sum(b.sum[:0]), rest[size-hashBytes:size]) {
		return r, "the checksum is wrong"
	}
	r = record{
		at: at, size: size,
		seq: seq &^ (erasedFlag | tombstoneFlag), erased: seq&erasedFlag != 0, tombstone: seq&tombstoneFlag != 0,
		stamp: int64(binary.LittleEndian.Uint64(rest[12:])), subject: body[:subject], data: body[subject+header:],
	}
	var values []byte
	if header > 0 {
		// The hash does not cover the lengths of subject and header.
		n := int(binary.LittleEndian.Uint32(body[subject:]))
		if n > len(r.data) || !wholeHeader(r.data[:n]) {
			return r, "the length of its header is wrong"
		}
		values, r.data = r.data[:n], r.data[n:]
	}
	if r.message() && b.accepts != nil && !b.accepts(r.subject, values) {
		return r, fmt.Sprintf("its subject is %.80q", r.subject)
	}
	return r, ""
}

func wholeHeader(h []byte) bool {
	return bytes.HasPrefix(h, headerStart) && bytes.Index(h, headerEnd) == len(h)-len(headerEnd)
}

// damage is a part of a block that holds no valid record.
type damage struct {
	from, to int
	why      string
	torn     bool // a record whose end is missing, at the end of the file

	// before and after are the sequences of the messages around it in the block; 0: there is none.
	before, after uint64
}

// walk calls visit with each valid record, and damaged with each part between them.
func (b *block) walk(visit func(*record), damaged func(damage)) {
	for at := 0; at < len(b.buf); {
		r, why := b.read(at)
		if why == "" {
			visit(&r)
			at += r.size
			continue
		}
		d := damage{from: at, to: b.following(at), why: why}
		d.torn = d.to == len(b.buf) && b.torn(at)
		damaged(d)
		at = d.to
	}
}

// following returns where the next valid record after a damaged one starts, or the end of the
// block. The length of the damaged record is usually right.
func (b *block) following(at int) int {
	if len(b.buf)-at >= recordBytesMin {
		size := int(binary.LittleEndian.Uint32(b.buf[at:]) &^ withHeader)
		if size >= recordBytesMin && size <= len(b.buf)-at {
			if at+size == len(b.buf) {
				return len(b.buf)
			}
			if _, why := b.read(at + size); why == "" {
				return at + size
			}
		}
	}
	for at++; len(b.buf)-at >= recordBytesMin; at++ {
		if b.plausible(at) {
			if _, why := b.read(at); why == "" {
				return at
			}
		}
	}
	return len(b.buf)
}

// plausible spares a search most of the hashing.
func (b *block) plausible(at int) bool {
	rest := b.buf[at:]
	size := int(binary.LittleEndian.Uint32(rest) &^ withHeader)
	return size >= recordBytesMin && size <= len(rest) && size <= recordBytesMax &&
		int(binary.LittleEndian.Uint16(rest[20:])) <= size-recordBytesMin
}

// torn reports whether the block ends within the record at an offset, or in zeros that the
// file system allocated before a crash.
func (b *block) torn(at int) bool {
	rest := b.buf[at:]
	if len(rest) < recordBytesMin || len(bytes.Trim(rest, "\x00")) == 0 {
		return true
	}
	size := int(binary.LittleEndian.Uint32(rest) &^ withHeader)
	return size > len(rest) && size <= recordBytesMax
}

// appendMessage appends a message without a header.
func (b *block) appendMessage(dst []byte, seq uint64, stamp int64, subject string, data []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(recordBytesMin+len(subject)+len(data)))
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(stamp))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(subject)))
	dst = append(append(dst, subject...), data...)
	b.hash.Reset()
	_, _ = b.hash.Write(dst[at+4 : at+20])
	_, _ = b.hash.Write(dst[at+headBytes:])
	return b.hash.Sum(dst)
}

// appendTombstone appends the record that makes a server remember that a sequence was used.
func (b *block) appendTombstone(dst []byte, seq uint64, stamp int64) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, recordBytesMin)
	dst = binary.LittleEndian.AppendUint64(dst, seq|tombstoneFlag)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(stamp))
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	b.hash.Reset()
	_, _ = b.hash.Write(dst[at+4 : at+20])
	return b.hash.Sum(dst)
}
