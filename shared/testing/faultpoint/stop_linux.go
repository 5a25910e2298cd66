//go:build faultpoints

package faultpoint

import (
	"os"
	"runtime"
	"syscall"
)

// stop stops the process before it returns: the signal goes to the thread that asks for
// it, or that would run on until another one has taken it.
func stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(os.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGSTOP))
}
