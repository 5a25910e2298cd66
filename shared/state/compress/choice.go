package compress

import (
	"fmt"
	"strings"
	"time"
)

// Auto lets Seal choose a codec for each block. It is a choice and never stored.
const Auto Codec = 0

// Access says how a block is used. It decides between speed and size if the choice leaves
// both open.
type Access uint8

// The access patterns.
const (
	// Cold is for data that is written once and kept: the smallest block that the budget
	// allows.
	Cold Access = iota
	// Hot is for data that is written all the time: the fastest codec among those within 5
	// % of the smallest. Without a budget, its budget is what Snappy needs, or LZ4 if
	// repeats are so long that LZ4 is faster.
	Hot
)

// String returns the name of the access pattern.
func (a Access) String() string {
	if a == Hot {
		return "hot"
	}
	return "cold"
}

// Choice says how a block is to be compressed. The zero value is Auto for cold
// data without a limit on time.
type Choice struct {
	// Codec is a codec, or Auto. Access and Budget only guide Auto.
	Codec  Codec
	Access Access
	// Budget is the time that compressing one block may take, including the trials; 0 means
	// what Access says. If it is less than any codec needs, the block is stored as it is.
	// It is compared with Codec.Cost and not with a clock, so that the same block is always
	// compressed alike.
	Budget time.Duration
	// MinRatio is the least raw length over stored length that makes a block worth its
	// decompression. 0 is 1.05 for Auto; for a codec, anything that shrinks.
	MinRatio float64
}

// ParseChoice returns the choice that a setting names: auto or a codec.
func ParseChoice(name string) (Choice, error) {
	if strings.EqualFold(name, Auto.String()) {
		return Choice{}, nil
	}
	codec, err := Parse(name)
	if err != nil {
		return Choice{}, fmt.Errorf("codec %q is not known: use auto, none, lz4, snappy or zstd", name)
	}
	return Choice{Codec: codec}, nil
}

const minRatioAuto = 1.05

// saving returns the share of a block that compression must save.
func (how *Choice) saving() float64 {
	ratio := how.MinRatio
	if ratio == 0 && how.Codec == Auto {
		ratio = minRatioAuto
	}
	return max(0, 1-1/max(ratio, 1))
}

// Cost is how long compressing n bytes takes on the machine that the table was measured on,
// for the slowest data of BenchmarkCodec. Use it to compare codecs; other machines take
// other times.
func (c Codec) Cost(n int) time.Duration {
	if !c.Valid() {
		return 0
	}
	cost := costs[c]
	return cost.block + time.Duration(int64(n)*cost.picosPerByte/1000)
}

// costs are from BenchmarkCodec/<data>/64KiB/<codec> for the cost of each byte, and from
// 256 bytes for the cost of each block, on one core of a Xeon virtual machine.
var costs = [...]struct {
	block        time.Duration
	picosPerByte int64
}{
	None:   {block: 20 * time.Nanosecond, picosPerByte: 100},
	Snappy: {block: 100 * time.Nanosecond, picosPerByte: 1500},
	LZ4:    {block: 300 * time.Nanosecond, picosPerByte: 2000},
	Zstd:   {block: 5 * time.Microsecond, picosPerByte: 8000},
}

// Reason says why a block has its codec.
type Reason uint8

// The reasons.
const (
	ReasonAsked    Reason = iota + 1 // the caller named the codec
	ReasonShort                      // under 128 bytes: a codec costs more than it saves
	ReasonBudget                     // no codec is within the budget
	ReasonOnly                       // one codec is within the budget
	ReasonSmallest                   // it makes the smallest block within the budget
	ReasonFastest                    // a faster one that comes within 5 % of the smallest
	ReasonRepeats                    // the sample has long repeats, which make it fast and small
	ReasonNoise                      // the sample showed no gain, but a fast codec found one
	ReasonNoGain                     // compression does not reach the least ratio
)

var reasonNames = [...]string{
	ReasonAsked:    "asked for",
	ReasonShort:    "too short to gain",
	ReasonBudget:   "no codec is within the budget",
	ReasonOnly:     "the only codec within the budget",
	ReasonSmallest: "the smallest within the budget",
	ReasonFastest:  "the fastest within 5 % of the smallest",
	ReasonRepeats:  "the fastest with repeats as long as those of the sample",
	ReasonNoise:    "a gain that the sample did not show",
	ReasonNoGain:   "compression does not reach the least ratio",
}

// String returns the reason in words.
func (r Reason) String() string {
	if r == 0 || int(r) >= len(reasonNames) {
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
	return reasonNames[r]
}

// Decision is what Seal did with a block, and why.
type Decision struct {
	Codec     Codec
	Reason    Reason
	RawLen    int // bytes of the block
	StoredLen int // bytes of the payload, without the envelope
	Sampled   int // bytes that codecs were tried on; 0 if there was nothing to find out
	// Tried is what each codec made of the sample, in bytes, by the number of the
	// codec; 0 if it was not tried.
	Tried [len(codecNames)]int
}

// String describes the decision in a line, for logs and tests.
func (d Decision) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s; %d bytes to %d", d.Codec, d.Reason, d.RawLen, d.StoredLen)
	if d.Sampled > 0 {
		fmt.Fprintf(&b, "; a sample of %d", d.Sampled)
		for _, c := range bySpeed {
			if d.Tried[c] > 0 {
				fmt.Fprintf(&b, ", %s %d", c, d.Tried[c])
			}
		}
	}
	return b.String()
}
