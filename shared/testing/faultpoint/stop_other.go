//go:build faultpoints && !linux

package faultpoint

import (
	"os"
	"syscall"
)

// stop stops the process.
func stop() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
