//go:build unix

package natsconn

import (
	"os"
	"syscall"
)

// flock takes the file for this process until it is closed. The system frees it
// even after a kill.
func flock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
