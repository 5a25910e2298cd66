// Package frame encodes the records of the write-ahead log, so that a torn or altered
// record is always detected, and checks that the records of each writer follow one another.
// Package wal stores them.
//
// docs/formats/frame.md describes every byte. Read frame.go for the content of a frame,
// header.go for the bytes around the payload, encode.go and decode.go for the payload,
// ints.go for packed numbers, and chain.go for the order of a log's frames.
package frame

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Limits of the format. The decoder checks them before it allocates memory, and the encoder
// refuses what the decoder would refuse. None of them may ever be lowered.
const (
	// BytesMax is the limit of an encoded frame. Writers aim far lower (512 KiB);
	// the room above is for single events of 1 MiB.
	BytesMax = 4 << 20
	// RawBytesMax is the limit of a payload before compression.
	RawBytesMax = 32 << 20
	// DecodedBytesMax is the limit of the memory that the rows of a frame take: 8 bytes for
	// each value and stamp, and the bytes of all texts. Constant columns take next to
	// nothing in a frame, so the two limits above do not imply it.
	DecodedBytesMax = 128 << 20
	// RowsMax is the limit of the rows of all blocks of a frame.
	RowsMax = 1 << 20
	// BlocksMax is the limit of the blocks of a frame.
	BlocksMax = 1 << 12
	// AttrsMax is the limit of the attributes of a stream.
	AttrsMax = 1 << 12
	// NameBytesMax is the limit of the names of apps, streams and attributes.
	NameBytesMax = 255
	// TextBytesMax is the limit of a run's message id, and of its header.
	TextBytesMax = 64 << 10
	// AppBytesMax is the limit of an app's text in a deploy frame, and SettingsBytesMax is
	// the limit of its settings.
	AppBytesMax      = 1 << 20
	SettingsBytesMax = 64 << 10
	// ChangeBytesMax is the limit of what a deploy frame says about the change from the
	// version before.
	ChangeBytesMax = 1 << 20
)

// Kind says what a frame is. The zero value is invalid, so that a zero-filled
// record is never a frame. The numbers are durable.
type Kind uint8

// The kinds of frames.
const (
	// Events is a batch of events: Frame.Blocks and Frame.Runs.
	Events Kind = 1
	// Tick only carries a stamp, so that timers fire when no event comes.
	Tick Kind = 2
	// Barrier cuts the log for a checkpoint: Frame.Cut.
	Barrier Kind = 3
	// Deploy starts a version of the app: Frame.Deploy. It is the first frame of a log.
	// Version 1 of the format does not have it.
	Deploy Kind = 4
)

var kindNames = [...]string{Events: "events", Tick: "tick", Barrier: "barrier", Deploy: "deploy"}

// String returns the kind's name.
func (k Kind) String() string {
	if k.Valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= Events && k <= Deploy }

// Header is the part that every frame has.
type Header struct {
	// App and Partition say whose log the frame belongs to, so that a frame in a foreign
	// log is detected.
	App       string
	Partition uint32
	Kind      Kind
	// Writer is the incarnation of the process that appended the frame, never 0.
	Writer uint64
	// Number counts the writer's frames in this partition: 1, 2, 3 …
	Number uint64
	// Prev is the CRC of the writer's previous frame, 0 for number 1.
	Prev uint32
	// Stamp is in ms since the Unix epoch: the largest arrival stamp in the frame; the time
	// of a tick; the time of a barrier by its writer's clock; the instant of a deployment,
	// which is the same in all partitions.
	Stamp int64
}

// Run is a number of consecutive rows of one block that were published in one message, or
// in several similar ones: with the same header, without id or chunk.
type Run struct {
	Block int // index in Frame.Blocks
	Rows  int // at least 1
	// Chunk says that the rows are one chunk (Ef-Chunk: 1); else each is its own.
	Chunk bool
	// ID is the message's Nats-Msg-Id, "" for none.
	ID string
	// Header holds the forwarded headers, such as traceparent, as lines of a NATS
	// header ("traceparent: 00-…\r\n"), "" for none.
	Header string
}

// Block holds the rows of one stream.
type Block struct {
	// Batch has a schema that names the stream; its TS are the events' own stamps.
	Batch *event.Batch
	// Arrived has the arrival stamp of each row in ms; empty: the same as Batch.TS.
	Arrived []int64
}

// Stamps returns the arrival stamp of each row.
func (b *Block) Stamps() []int64 {
	if len(b.Arrived) == 0 {
		return b.Batch.TS
	}
	return b.Arrived
}

// Cut is the content of a barrier: the checkpoint that the log is cut for.
type Cut struct {
	// Epoch is the checkpoint's number, never 0.
	Epoch uint64
	// Term is the leadership that opened the epoch, never 0.
	Term uint64
	// ID is random, so that a log that lost its tail and reached the same sequence again is
	// not mistaken for the one that the checkpoint was cut from.
	ID [16]byte
}

// Version is the content of a deploy frame: the version of the app that starts after it,
// and the rules that apply it.
type Version struct {
	// Number is the number of the app's version, from 1.
	Number uint32
	// Level is the semantics level: the rules of the engine for frames, from 1.
	Level uint32
	// Build is the version of the program that deployed the app. A build that lacks the
	// level names it in its error.
	Build string
	// Settings are the deployment's, as JSON. Package engine defines them.
	Settings string
	// Text is the text of the app.
	Text string
	// Change says how the state of the version before becomes the state of this one, as JSON.
	// Package engine defines it. "" for nothing in particular.
	Change string
}

// Frame is one record of the log.
type Frame struct {
	Header
	// Runs are in log order; the runs of a block consume its rows in order.
	Runs   []Run
	Blocks []Block
	// Cut is a barrier's content, and zero in frames of other kinds.
	Cut Cut
	// Deploy is a deploy frame's content, and zero in frames of other kinds.
	Deploy Version
	// HasClock says that a tick moves the clock to Clock, in ms, and not to its stamp.
	HasClock bool
	Clock    int64
	// CRC is the checksum of the frame as encoded; Append and Decode set it. It is
	// the Prev of the writer's next frame.
	CRC uint32
}

// Rows returns the number of events in the frame.
func (f *Frame) Rows() int {
	n := 0
	for i := range f.Blocks {
		n += f.Blocks[i].Batch.Len()
	}
	return n
}
