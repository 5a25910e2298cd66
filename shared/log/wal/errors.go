package wal

import (
	"errors"
	"fmt"
)

// What a caller can do about a frame or message that was not written.
var (
	// ErrFull is returned by appends while as many bytes as allowed wait for the
	// server. Nothing was taken; wait with AwaitSpace, or tell the publisher.
	ErrFull = errors.New("the log takes no more at the moment")
	// ErrTooLarge is returned for a message that does not fit into a frame. Refuse
	// it; it will never fit.
	ErrTooLarge = errors.New("message too large for a frame of the log")
	// ErrInvalid is returned for a message that contradicts itself. It is a bug of
	// the caller.
	ErrInvalid = errors.New("invalid message")
	// ErrClosed is returned once the writer has ended. The message was not written.
	ErrClosed = errors.New("log writer closed")
	// ErrUnknown is given for what was sent when the writer ended without an
	// answer: it may be in the log or not.
	ErrUnknown = errors.New("log writer ended before the server answered; it may have written or not")
	// ErrReaderClosed is returned by a reader after Close.
	ErrReaderClosed = errors.New("log reader closed")
)

// GapError says that the log lacks records in its middle: the server lost or
// skipped them. Stop; do not retry.
type GapError struct {
	Stream        string
	Expected, Got uint64 // sequences
}

func (e *GapError) Error() string {
	return fmt.Sprintf("log %s: sequence %d follows %d, so %d records are missing; restore the log from a copy, or go on without them: in one process, stop it and run eventflux recover --log --accept-loss",
		e.Stream, e.Got, e.Expected-1, e.Got-e.Expected)
}

// TrimmedError says that the log no longer holds what was asked for, because it
// was trimmed below a newer checkpoint. Start from that one.
type TrimmedError struct {
	Stream        string
	Wanted, First uint64 // sequences
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("log %s: sequence %d was asked for, and the log starts at %d; use a newer checkpoint", e.Stream, e.Wanted, e.First)
}

// LostTailError says that the log ends before what was already read from it, or
// before what a checkpoint covers. New records would get the numbers of lost
// ones. Stop; do not retry.
type LostTailError struct {
	Stream       string
	Wanted, Last uint64 // sequences
}

func (e *LostTailError) Error() string {
	return fmt.Sprintf("log %s: sequence %d was asked for, and the log ends at %d: it lost its tail; restore it, or recover with --fork from a checkpoint at or before %[3]d",
		e.Stream, e.Wanted, e.Last)
}
