// Package export writes a checkpoint and the log after it into one file that an app can be
// replayed from anywhere, and reads such files. Its users provide and use the parts;
// docs/formats/export.md describes every byte.
package export

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// Kind says what a record is. The zero value is invalid. The numbers are durable.
type Kind uint8

// The kinds of records, in their order in a file.
const (
	KindInfo     Kind = 1 // Info as JSON; first, once
	KindApp      Kind = 2 // the app's text; once, or one for each of Info.Versions with its number as name
	KindManifest Kind = 3 // of the checkpoint, as the store has it; once, unless there is none
	KindObject   Kind = 4 // a run or a block; its name in the store
	KindFrame    Kind = 5 // of the log; its name is partition/sequence
	KindEnd      Kind = 6 // SHA-256 of all before; last, once
)

const (
	magic      = "EFEX"
	version    = 3 // the newest
	crcBytes   = 4
	nameMax    = 512
	dataMax    = 64 << 20
	headerSize = len(magic) + 1
)

// What a caller can do about a file that does not read.
var (
	// ErrCorrupt is what every *CorruptError is. Do not retry: get another copy.
	ErrCorrupt = errors.New("corrupt export")
	// ErrVersion is returned for a file of a newer format.
	ErrVersion = errors.New("export of a newer version")
)

// CorruptError says what is wrong with a file, and where.
type CorruptError struct {
	What   string
	Offset int64
}

// Error tells what and where.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s (at byte %d); export it again, or copy it again", ErrCorrupt, e.What, e.Offset)
}

// Is makes the error an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Info says what is in a file.
type Info struct {
	App             string `json:"app"`
	Plan            string `json:"plan"`       // digest of the text of version 1 of the app
	Checkpoint      uint64 `json:"checkpoint"` // 0: none, the log is complete from its start
	engine.Settings        // of the deployment
	Version         string `json:"version"`            // of the program that wrote it
	Logs            []Log  `json:"logs"`               // by partition
	Made            string `json:"made"`               // RFC 3339
	Manifest        string `json:"manifest,omitempty"` // its name in the store
	// Versions are those that partitions have at the checkpoint, by number. There are none if
	// all have version 1; later versions are in the log.
	Versions []Version `json:"versions,omitempty"`
}

// Version is a version of the app.
type Version struct {
	Number          uint32 `json:"number"`
	Plan            string `json:"plan"`             // digest of its text
	Change          string `json:"change,omitempty"` // from the version before, as its deploy frame has it
	engine.Settings        // of the version
}

// format returns the oldest format that has all that is in the file.
func (i *Info) format() byte {
	switch {
	case slices.ContainsFunc(i.Logs, func(l Log) bool { return l.First > 0 }):
		return version
	case len(i.Versions) > 0:
		return 2
	}
	return 1
}

// Log is what a file has of the log of a partition: the frames From to To, none if To is
// before From.
type Log struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// First is before From if a change of the app in the log reads frames from there on to build
	// state: then the file has them, too. 0: it has none before From.
	First uint64 `json:"first,omitempty"`
}

// Start returns the first frame that the file has.
func (l Log) Start() uint64 {
	if l.First > 0 {
		return l.First
	}
	return l.From
}

// Record is one part of a file.
type Record struct {
	Kind Kind
	Name string
	Data []byte // the reader's, until the next record
}

// Writer writes a file.
type Writer struct {
	out io.Writer
	sum hash.Hash
	buf []byte
}

// NewWriter starts a file.
func NewWriter(out io.Writer, info *Info) (*Writer, error) {
	w := &Writer{out: out, sum: sha256.New()}
	if err := w.raw(append([]byte(magic), info.format())); err != nil {
		return nil, err
	}
	data, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	return w, w.Add(KindInfo, "", data)
}

// Add appends a record.
func (w *Writer) Add(kind Kind, name string, data []byte) error {
	if len(name) > nameMax || len(data) > dataMax {
		return fmt.Errorf("export: a name of %d and data of %d bytes, limits %d and %d", len(name), len(data), nameMax, dataMax)
	}
	b := append(w.buf[:0], byte(kind))
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(len(data)))
	crc := wire.UpdateCRC(wire.CRC(b), data)
	w.buf = b
	if err := w.raw(b); err != nil {
		return err
	}
	if err := w.raw(data); err != nil {
		return err
	}
	return w.raw(binary.LittleEndian.AppendUint32(nil, crc))
}

func (w *Writer) raw(b []byte) error {
	_, _ = w.sum.Write(b) // never fails
	_, err := w.out.Write(b)
	return err
}

// Close ends the file. It does not close what it was written to.
func (w *Writer) Close() error { return w.Add(KindEnd, "", w.sum.Sum(nil)) }

// Reader reads a file record by record, in bounded memory. What it returns was checked,
// but that the file is whole is known only when Next returns io.EOF.
type Reader struct {
	in   io.Reader
	one  [1]byte
	sum  hash.Hash
	crc  uint32
	at   int64
	last Kind
	many bool // texts of an app
	data []byte
}

// NewReader starts to read a file.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: in, sum: sha256.New()}
	var head [headerSize]byte
	if err := r.full(head[:]); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, r.corrupt(0, "it starts with %q, not with %q: it is not an export", head[:len(magic)], magic)
	}
	switch v := head[len(magic)]; {
	case v == 0:
		return nil, r.corrupt(int64(len(magic)), "version 0")
	case v > version:
		return nil, fmt.Errorf("%w: format version %d, known is %d; read it with the version that wrote it or a newer one", ErrVersion, v, version)
	default:
		r.many = v > 1
	}
	return r, nil
}

func (r *Reader) corrupt(at int64, format string, args ...any) error {
	return &CorruptError{fmt.Sprintf(format, args...), at}
}

// full fills b, and takes it into both checksums.
func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.in, b)
	r.at += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.corrupt(r.at, "it is cut off")
	}
	if err != nil {
		return err
	}
	_, _ = r.sum.Write(b) // never fails
	r.crc = wire.UpdateCRC(r.crc, b)
	return nil
}

// Next returns the next record. It returns io.EOF after the last one, if the file is complete
// and unaltered.
func (r *Reader) Next() (Record, error) {
	if r.last == KindEnd {
		if n, err := io.ReadFull(r.in, r.one[:]); n > 0 || !errors.Is(err, io.EOF) {
			return Record{}, errors.Join(r.corrupt(r.at, "there is data after its end"))
		}
		return Record{}, io.EOF
	}
	start, sum := r.at, r.sum.Sum(nil)
	r.crc = 0
	rec, err := r.record(start)
	if err != nil {
		return Record{}, err
	}
	want := r.crc
	var stored [crcBytes]byte
	if err := r.full(stored[:]); err != nil {
		return Record{}, err
	}
	if got := binary.LittleEndian.Uint32(stored[:]); got != want {
		return Record{}, r.corrupt(start, "the record's CRC32C is %08x, %08x was stored", want, got)
	}
	if err := r.ordered(rec.Kind, start); err != nil {
		return Record{}, err
	}
	if rec.Kind == KindEnd {
		if string(rec.Data) != string(sum) {
			return Record{}, r.corrupt(start, "its SHA-256 is %x, %x was stored", sum, rec.Data)
		}
		return r.Next()
	}
	return rec, nil
}

// ordered refuses records that are out of order.
func (r *Reader) ordered(kind Kind, at int64) error {
	first, once := r.last == 0, kind == KindInfo || kind == KindApp && !r.many || kind == KindManifest
	if kind == 0 || kind > KindEnd || first != (kind == KindInfo) || kind < r.last || once && kind == r.last {
		return r.corrupt(at, "a record of kind %d after one of kind %d", kind, r.last)
	}
	r.last = kind
	return nil
}

func (r *Reader) record(start int64) (Record, error) {
	if err := r.full(r.one[:]); err != nil {
		return Record{}, err
	}
	rec := Record{Kind: Kind(r.one[0])}
	name, err := r.bytes(start, "name", nameMax, nil)
	if err != nil {
		return Record{}, err
	}
	rec.Name = string(name)
	r.data, err = r.bytes(start, "record", dataMax, r.data)
	rec.Data = r.data
	return rec, err
}

// bytes reads a length and as many bytes, into old if they fit.
func (r *Reader) bytes(start int64, what string, most int, old []byte) ([]byte, error) {
	size := uint64(0)
	for shift := 0; ; shift += 7 {
		if err := r.full(r.one[:]); err != nil {
			return nil, err
		}
		b := r.one[0]
		if shift > 28 || shift > 0 && b == 0 {
			return nil, r.corrupt(start, "a %s without a length", what)
		}
		if size |= uint64(b&0x7f) << shift; b < 0x80 {
			break
		}
	}
	if size > uint64(most) {
		return nil, r.corrupt(start, "a %s of %d bytes, limit %d", what, size, most)
	}
	// Memory is taken as the bytes come: a length alone costs nothing.
	const piece = 1 << 20
	data := old[:0]
	for len(data) < int(size) {
		n := min(int(size)-len(data), piece)
		data = append(data, make([]byte, n)...)
		if err := r.full(data[len(data)-n:]); err != nil {
			return nil, err
		}
	}
	return data, nil
}
