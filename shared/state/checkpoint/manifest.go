package checkpoint

import (
	"time"

	"github.com/eventflux/eventflux/shared/state"
)

// Term is the number of a leadership of the checkpointer: the fencing token of everything
// that a leader writes.
type Term uint64

// Generation is the number of an app's line of history, from 1.
type Generation uint64

// Manifest is the record that makes a checkpoint exist. It is kept as JSON that a
// person can read; docs/formats/manifest.md describes it.
type Manifest struct {
	Format     int         `json:"format"`
	App        string      `json:"app"`
	Plan       string      `json:"plan"` // digest of the text of version 1 of the app
	Generation Generation  `json:"generation"`
	Epoch      state.Epoch `json:"epoch"`
	Term       Term        `json:"term"`
	// Time is when the leader opened the epoch, for people and for retention.
	Time time.Time `json:"time"`
	// Hold says that the tasks of this generation stop at their starts until the app is
	// released. Only the first manifest of a generation has Hold, or a Start.
	Hold       bool        `json:"hold,omitempty"`
	Partitions []Partition `json:"partitions"` // in order, one for each of the app
	// Digest is the SHA-256, in hexadecimal, of the record's JSON with this field empty.
	Digest string `json:"digest"`
}

// Partition is the checkpoint of one task: its answer to prepare.
type Partition struct {
	Partition  uint32 `json:"partition"`
	Assignment uint64 `json:"assignment"` // under which the task ran; see control.Attached
	// Version is the version of the app that was in force at the barrier, and Plan the digest of
	// its text. They are empty for version 1.
	Version uint32  `json:"version,omitempty"`
	Plan    string  `json:"plan,omitempty"`
	Log     Lineage `json:"log"`
	// Start is where the generation starts, if that is after the barrier: the log up to it
	// is applied without results.
	Start *Start `json:"start,omitempty"`
	// Skipped names the records of the log after the barrier that readers skip, in order.
	// Only the first manifest of a generation has any.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Clock is the task's time at the barrier, in ms.
	Clock  int64  `json:"clock"`
	Output Output `json:"output"`
	// Components are sorted by id.
	Components []Component `json:"components"`
}

// Lineage proves that a log is still the log that a checkpoint was cut from.
type Lineage struct {
	Stream  string    `json:"stream"`  // of JetStream
	Created time.Time `json:"created"` // when the server made the stream
	// Sequence, ID and CRC belong to the barrier's frame.
	Sequence uint64 `json:"sequence"`
	ID       ID     `json:"barrier"`
	CRC      uint32 `json:"crc"`
}

// Start is a position in a log: after an event of a frame.
type Start struct {
	Sequence uint64 `json:"sequence"`
	// Event is the number of the event in its frame, from 1; 0: all of the frame.
	Event uint64 `json:"event,omitempty"`
}

// Skipped is a record of a log that could not be applied, and that an operator decided to
// skip.
type Skipped struct {
	Sequence uint64 `json:"sequence"`
	SHA256   string `json:"sha256"` // of its bytes, in hexadecimal
	Reason   string `json:"reason"` // why it could not be applied
}

// ID is the random number of a barrier, in hexadecimal in JSON.
type ID [16]byte

// Output says how far the output stream was when the task prepared: it had every result of
// frames up to the barrier.
type Output struct {
	Stream   string `json:"stream"`   // of JetStream
	Sequence uint64 `json:"sequence"` // of its last message then, or a later one before it was prepared
	// Positions holds the newest result of each stream that has any, in the form of
	// Ef-Position.
	Positions map[string]string `json:"positions"`
}

// Component is the state of one component.
type Component struct {
	ID      string       `json:"id"`
	Type    string       `json:"type"`
	Version string       `json:"version"` // schema version
	Digest  state.Digest `json:"digest"`
	// Runs is the chain: a base and the deltas that follow it, oldest first. It is empty
	// for a component without entries.
	Runs []Run `json:"runs"`
}

// Run names a stored run, and describes it.
type Run struct {
	// Name is the SHA-256 of its uncompressed canonical entries, in hexadecimal.
	Name  string      `json:"name"`
	Kind  Kind        `json:"kind"`
	Epoch state.Epoch `json:"epoch"` // of the checkpoint that it was written for
	// Entries counts puts and deletes.
	Entries  int64 `json:"entries"`
	RawBytes int64 `json:"raw_bytes"`
	// Bytes is what the run and its blocks take in the store, or took when they were
	// written: a block that is stored once may belong to several runs.
	Bytes  int64 `json:"bytes"`
	Blocks int   `json:"blocks"`
	// Pack is the SHA-256 of the pack that has the run, and names it. The run has Bytes bytes
	// from Offset, of PackBytes. All three are empty for a run that is an object of its own.
	Pack      string `json:"pack,omitempty"`
	Offset    int64  `json:"offset,omitempty"`
	PackBytes int64  `json:"pack_bytes,omitempty"`
}

// Kind says whether a run stands alone.
type Kind string

// The kinds of runs.
const (
	Base  Kind = "base"  // all entries of a component
	Delta Kind = "delta" // what changed since the run before it
)
