package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// CRCBytes is the size of a checksum.
const CRCBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC returns the CRC32C of data, the checksum of all formats.
func CRC(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// UpdateCRC returns the CRC32C of some bytes followed by data. crc is the CRC32C of the bytes.
func UpdateCRC(crc uint32, data []byte) uint32 { return crc32.Update(crc, castagnoli, data) }

// AppendCRC appends the CRC32C of dst to it.
func AppendCRC(dst []byte) []byte { return binary.LittleEndian.AppendUint32(dst, CRC(dst)) }
