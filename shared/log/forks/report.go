package forks

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// Report says what a merge did, or would do.
type Report struct {
	App        string           `json:"app"`
	Strategy   string           `json:"strategy"`
	Base       Ref              `json:"base"`
	A          Ref              `json:"a"`
	B          Ref              `json:"b"`
	Epoch      state.Epoch      `json:"epoch,omitempty"` // of the result; 0: nothing was written
	Components []Component      `json:"components"`
	Refused    []RefusedBecause `json:"refused,omitempty"`
}

// Ref names a checkpoint.
type Ref struct {
	Name       string                `json:"name"` // as it was given
	Epoch      state.Epoch           `json:"epoch"`
	Generation checkpoint.Generation `json:"generation"`
	Time       time.Time             `json:"time"`
}

// Component says how the state of a component was merged. The first four counts are of entries
// in A and B, the others of keys.
type Component struct {
	Partition uint32          `json:"partition"`
	ID        string          `json:"component"`
	Rule      engine.ForkRule `json:"rule"`
	Key       string          `json:"key,omitempty"`  // what a key is
	From      string          `json:"from,omitempty"` // A or B, if all state is from it
	OnlyA     int             `json:"only_a"`
	OnlyB     int             `json:"only_b"`
	Equal     int             `json:"equal"`
	Different int             `json:"different"`
	// FromA and FromB count the keys that only that fork has changed, and Conflicts those that
	// both have changed differently. WonA and WonB say which change counts.
	FromA     int        `json:"from_a"`
	FromB     int        `json:"from_b"`
	Conflicts int        `json:"conflicts"`
	WonA      int        `json:"won_a"`
	WonB      int        `json:"won_b"`
	Samples   []Conflict `json:"samples,omitempty"` // the first conflicts
}

// Conflict is an item, such as a row or a group, of a key that both forks have changed. nil means
// that a fork does not have it.
type Conflict struct {
	Item string          `json:"item"`
	A    json.RawMessage `json:"a,omitempty"`
	B    json.RawMessage `json:"b,omitempty"`
	Won  string          `json:"won"`
}

// RefusedBecause says which components cannot be merged, and why.
type RefusedBecause struct {
	Partition  uint32   `json:"partition"`
	Components []string `json:"components"`
	Why        string   `json:"why"`
}

// Err returns an error that names what was refused, and what to do; nil for nothing.
func (r *Report) Err() error {
	if len(r.Refused) == 0 {
		return nil
	}
	var lines []string
	named := map[string]bool{}
	for _, x := range r.Refused {
		text := fmt.Sprintf("%s: both forks have changed it, and %s; take all of it from one fork: --take %s=A or --take %[3]s=B", strings.Join(x.Components, ", "), x.Why, x.Components[0])
		if !named[text] {
			named[text] = true
			lines = append(lines, text)
		}
	}
	return fmt.Errorf("%w:\n%s", ErrRefused, strings.Join(lines, "\n"))
}
