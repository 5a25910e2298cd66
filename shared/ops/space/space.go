// Package space tells how much room a file system has, and which errors say that it has none.
package space

import (
	"errors"
	"syscall"
)

// Space is what is known of a file system.
type Space struct {
	Free, Total uint64 // bytes; Free is what a process without privileges may use
	Volatile    bool   // in memory
}

// IsFull reports whether err says that a disk, or the share of a user, is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
