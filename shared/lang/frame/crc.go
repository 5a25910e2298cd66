package frame

import "encoding/binary"

// CRC returns the checksum that an encoded frame ends with, of whatever version, and 0 for
// what is too short for one. It is not checked.
func CRC(src []byte) uint32 {
	if len(src) < crcBytes {
		return 0
	}
	return binary.LittleEndian.Uint32(src[len(src)-crcBytes:])
}
