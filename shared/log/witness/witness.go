// Package witness keeps a record of the last frame of each log that a process has
// acknowledged. The record lies outside the log, so a log that has lost its end is
// noticed even if no result and no checkpoint shows what was there. Package wal writes
// the log; package streamfiles compares the two when the process starts.
package witness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// Every record lies in one disk sector of its own. Two of them take turns, so that a power
// failure damages the older one at most. docs/formats/witness.md describes the bytes.
const (
	version = 1
	magic   = "EFWN"

	sectorBytes = 512
	fileBytes   = 2 * sectorBytes

	offsetVersion = 4
	offsetTurn    = 8
	offsetCreated = 16
	offsetSeq     = 24
	offsetBoot    = 32
	offsetCRC     = 40
	offsetLog     = 44
	offsetSum     = 48
	recordBytes   = 52
)

// ErrCorrupt says that neither of the two records of a file can be read. The log itself is
// not damaged by that, but its end has no witness.
var ErrCorrupt = errors.New("damaged witness")

// ErrVersion says that a newer version of EventFlux wrote the file.
var ErrVersion = errors.New("witness of an unknown version")

// End is the last frame of a log that was acknowledged.
type End struct {
	// Created is when the server made the log's JetStream stream. A stream that was made
	// again under the name is another log.
	Created time.Time
	// Seq is the frame's sequence; 0 if there is none.
	Seq uint64
	// CRC is the frame's checksum, its last four bytes.
	CRC uint32
	// Boot identifies the run of the operating system that the frame was acknowledged in; 0 if
	// the system does not tell. It distinguishes a power failure from a killed process.
	Boot uint64
}

// encode writes one record. log is the sum of the name of the log's stream; turn orders the
// two records of a file.
func encode(dst *[recordBytes]byte, log uint32, turn uint64, e *End) {
	b := dst[:]
	clear(b)
	copy(b, magic)
	b[offsetVersion] = version
	binary.LittleEndian.PutUint64(b[offsetTurn:], turn)
	binary.LittleEndian.PutUint64(b[offsetCreated:], uint64(e.Created.UnixNano()))
	binary.LittleEndian.PutUint64(b[offsetSeq:], e.Seq)
	binary.LittleEndian.PutUint64(b[offsetBoot:], e.Boot)
	binary.LittleEndian.PutUint32(b[offsetCRC:], e.CRC)
	binary.LittleEndian.PutUint32(b[offsetLog:], log)
	sum(dst)
}

func sum(b *[recordBytes]byte) {
	binary.LittleEndian.PutUint32(b[offsetSum:], wire.CRC(b[:offsetSum]))
}

func nameSum(stream string) uint32 { return wire.CRC([]byte(stream)) }

// Decode returns the newer of the two records that the file of a log holds.
func Decode(stream string, file []byte) (End, error) {
	e, _, err := decode(stream, file)
	return e, err
}

func decode(stream string, file []byte) (newest End, turn uint64, err error) {
	if len(file) != fileBytes {
		return End{}, 0, fmt.Errorf("%w: %d bytes, want %d", ErrCorrupt, len(file), fileBytes)
	}
	var why [2]error
	for i := range why {
		e, t, err := decodeRecord(stream, file[i*sectorBytes:][:recordBytes])
		if err == nil && t > turn {
			newest, turn = e, t
		}
		why[i] = err
	}
	if errors.Is(why[0], ErrVersion) || errors.Is(why[1], ErrVersion) {
		return End{}, 0, errors.Join(why[:]...)
	}
	if turn == 0 {
		return End{}, 0, errors.Join(why[:]...)
	}
	return newest, turn, nil
}

func decodeRecord(stream string, b []byte) (e End, turn uint64, err error) {
	switch {
	case string(b[:len(magic)]) != magic:
		return e, 0, fmt.Errorf("%w: it starts with %q, not with %q", ErrCorrupt, b[:len(magic)], magic)
	case binary.LittleEndian.Uint32(b[offsetSum:]) != wire.CRC(b[:offsetSum]):
		return e, 0, fmt.Errorf("%w: the checksum is wrong", ErrCorrupt)
	case b[offsetVersion] != version:
		return e, 0, fmt.Errorf("%w: %d, known is %d; run the version of eventflux that wrote it or a newer one", ErrVersion, b[offsetVersion], version)
	case binary.LittleEndian.Uint32(b[offsetLog:]) != nameSum(stream):
		return e, 0, fmt.Errorf("%w: it is of another log", ErrCorrupt)
	}
	turn = binary.LittleEndian.Uint64(b[offsetTurn:])
	if turn == 0 {
		return e, 0, fmt.Errorf("%w: turn 0", ErrCorrupt)
	}
	return End{
		Created: time.Unix(0, int64(binary.LittleEndian.Uint64(b[offsetCreated:]))).UTC(),
		Seq:     binary.LittleEndian.Uint64(b[offsetSeq:]),
		Boot:    binary.LittleEndian.Uint64(b[offsetBoot:]),
		CRC:     binary.LittleEndian.Uint32(b[offsetCRC:]),
	}, turn, nil
}
