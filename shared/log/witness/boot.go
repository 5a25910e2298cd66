package witness

import (
	"encoding/binary"
	"hash/fnv"
	"os"
)

// Boot identifies the run of the operating system; 0 if it does not tell.
func Boot() uint64 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) == 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(id) // never fails
	return binary.LittleEndian.Uint64(h.Sum(nil))
}
