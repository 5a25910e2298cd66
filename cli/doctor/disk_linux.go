package doctor

import "syscall"

// Magic numbers of file systems in memory.
const (
	magicTmpfs = 0x01021994
	magicRamfs = 0x858458f6
)

func diskOf(dir string) (disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return disk{}, err
	}
	magic := uint32(s.Type)
	return disk{
		free:     float64(s.Bavail) / float64(max(s.Blocks, 1)),
		volatile: magic == magicTmpfs || magic == magicRamfs,
	}, nil
}
