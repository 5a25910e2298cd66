package space

import "syscall"

// Magic numbers of file systems in memory.
const (
	magicTmpfs = 0x01021994
	magicRamfs = 0x858458f6
)

// Of returns the space of the file system that has a folder.
func Of(dir string) (Space, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Space{}, err
	}
	magic, block := uint32(s.Type), uint64(s.Bsize)
	return Space{
		Free: s.Bavail * block, Total: s.Blocks * block,
		Volatile: magic == magicTmpfs || magic == magicRamfs,
	}, nil
}
