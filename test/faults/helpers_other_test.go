//go:build !linux

package faults

func otherwise() (code int, done bool) { return 0, false }
