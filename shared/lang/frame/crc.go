package frame

import "encoding/binary"

// CRC returns the checksum at the end of an encoded frame of any version, without checking
// it; 0 if src is too short for one.
func CRC(src []byte) uint32 {
	if len(src) < crcBytes {
		return 0
	}
	return binary.LittleEndian.Uint32(src[len(src)-crcBytes:])
}
