package output

import (
	"encoding/json"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// Fence is a message between results. The owner of a partition that starts writes one,
// which makes all that a former owner still sends fail; and one now and then, so that what
// came after the newest one is soon read.
//
// Newest is the record of the newest result of each result stream, in whichever generation
// that was. It is bounded by the app's definitions, and it is all that a start needs besides
// the messages after Through: nothing before has to be in the stream any more.
type Fence struct {
	Owner string `json:"owner"` // the task's incarnation, for people
	Plan  string `json:"plan"`  // digest of the app
	// Generation is the task's generation.
	Generation checkpoint.Generation `json:"generation"`
	// Newest has places as result.Position.String writes them, by name of the result stream.
	// It holds for all messages of the output stream up to sequence Through. A fence of a
	// release before 1.0 has none.
	Newest  map[string]string `json:"newest,omitempty"`
	Through uint64            `json:"through,omitempty"`
	// Last is the newest result of any stream up to there.
	Last string `json:"last,omitempty"`
	// Positions has those of Newest that are of Generation, without it, as releases before
	// 1.0 read them.
	Positions map[string]string `json:"positions"`
}

// Record describes the results before a fence.
type Record struct {
	Newest  map[string]result.Position // by result stream; those without a result are not there
	Last    result.Position            // of all; zero for none
	Through uint64                     // the record covers results up to this sequence
}

// NewFence returns a fence with a record.
func NewFence(owner, plan string, g checkpoint.Generation, r Record) Fence {
	f := Fence{
		Owner: owner, Plan: plan, Generation: g,
		Newest: map[string]string{}, Through: r.Through, Last: r.Last.String(), Positions: map[string]string{},
	}
	for stream, at := range r.Newest {
		if at == (result.Position{}) {
			continue
		}
		f.Newest[stream] = at.String()
		if at.Generation == uint64(g) {
			f.Positions[stream] = fmt.Sprintf("%d.%d", at.Seq, at.Ordinal)
		}
	}
	return f
}

// ParseFence reads a fence of any release.
func ParseFence(data []byte) (f Fence, err error) {
	err = json.Unmarshal(data, &f)
	return f, err
}

// Record returns the fence's record. ok is false for a fence that has none.
func (f *Fence) Record() (r Record, ok bool, err error) {
	if f.Through == 0 {
		return Record{}, false, nil
	}
	r = Record{Newest: make(map[string]result.Position, len(f.Newest)), Through: f.Through}
	if r.Last, err = parsePlace(f.Last); err != nil {
		return Record{}, false, fmt.Errorf("last result: %w", err)
	}
	for stream, text := range f.Newest {
		if r.Newest[stream], err = result.Parse(text); err != nil {
			return Record{}, false, fmt.Errorf("newest result of %s: %w", stream, err)
		}
	}
	return r, true, nil
}
