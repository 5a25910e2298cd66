package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Change is what a deploy frame says about the step from the version before: which state
// goes on under which name, and which state is given up. The zero value fits a first
// version.
type Change struct {
	// Queries has the name of each query in the state, and Blocks the name of each partition
	// block. They are there if any differs from what the text alone gives.
	Queries []string `json:"queries,omitempty"`
	Blocks  []string `json:"blocks,omitempty"`
	// Drop lists the ids of the components whose state is given up.
	Drop []string `json:"drop,omitempty"`
	// Kept is the version whose text this one repeats, if a restore kept it. Where that version
	// is in force, nothing is given up.
	Kept uint64 `json:"kept,omitempty"`
	// Backfill has, by partition, the sequence of the first frame of the log that state which
	// starts empty otherwise is built from. Sequence 1 means that the log is complete: the app
	// had no state before it. nil: nothing is built from the log.
	Backfill []uint64 `json:"backfill,omitempty"`
}

// JSON returns the form that a deploy frame carries; "" for the zero value.
func (c Change) JSON() string {
	if len(c.Queries)+len(c.Blocks)+len(c.Drop)+len(c.Backfill) == 0 && c.Kept == 0 {
		return ""
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // it has only texts
	}
	return string(data)
}

// BackfillOf returns what the change of a deploy frame says about a backfill, as Change.Backfill
// does.
func BackfillOf(change string) ([]uint64, error) {
	c, err := parseChange(change)
	return c.Backfill, err
}

// parseChange reads what JSON wrote. A field that it does not know is of a newer build.
func parseChange(text string) (c Change, err error) {
	if text == "" {
		return c, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Change{}, fmt.Errorf("the change in the deploy frame is not all known: %w", err)
	}
	return c, nil
}

// stateNameMax is the longest name of a query in the state: ids of components add a role.
const stateNameMax = 240

// Compile compiles the text of a version that was deployed. In its plan, components have the
// ids that they have in the state.
func Compile(v *frame.Version) (*siddhiql.Plan, error) {
	plan, err := siddhiql.CompileDeployed(v.Text)
	if err != nil {
		return nil, err
	}
	c, err := parseChange(v.Change)
	if err != nil {
		return nil, err
	}
	return plan, c.name(plan)
}

// name gives the queries and blocks of a plan their names in the state.
func (c *Change) name(plan *siddhiql.Plan) error {
	if n := len(c.Queries); n > 0 && n != len(plan.Queries) || len(c.Blocks) > 0 && len(c.Blocks) != len(plan.Blocks) {
		return fmt.Errorf("the change names %d queries and %d partitions, and the app has %d and %d", n, len(c.Blocks), len(plan.Queries), len(plan.Blocks))
	}
	for _, list := range [][]string{c.Queries, c.Blocks} {
		seen := map[string]bool{}
		for _, name := range list {
			if name == "" || seen[name] || len(name) > stateNameMax || strings.Contains(name, "/") {
				return fmt.Errorf("the change has the name %q, which is taken or none", name)
			}
			seen[name] = true
		}
	}
	for i, name := range c.Queries {
		plan.Queries[i].StateName = name
	}
	for i, name := range c.Blocks {
		plan.Blocks[i].StateName = name
	}
	return nil
}

// queryNames returns the name of each query in the state: the one that an upgrade gave it,
// its own, or query and its number.
func queryNames(plan *siddhiql.Plan) []string {
	taken := map[string]bool{}
	for _, q := range plan.Queries {
		taken[q.Name] = true
	}
	names := make([]string, len(plan.Queries))
	for i, q := range plan.Queries {
		switch {
		case q.StateName != "":
			names[i] = q.StateName
		case q.Name != "":
			names[i] = q.Name
		default:
			names[i] = free(fmt.Sprintf("query%d", i+1), taken)
		}
	}
	return names
}

// free returns a name that is not taken.
func free(name string, taken map[string]bool) string {
	for taken[name] {
		name += "'"
	}
	return name
}

// blockNames returns the name of each partition block in the state.
func blockNames(plan *siddhiql.Plan) []string {
	names := make([]string, len(plan.Blocks))
	for i, b := range plan.Blocks {
		if names[i] = b.StateName; names[i] == "" {
			names[i] = fmt.Sprintf("partition%d", i+1)
		}
	}
	return names
}

// identity determines which queries and blocks of an app continue in its next version.
type identity struct {
	old, next     *siddhiql.Plan
	names, blocks []string // of old in the state
	queryOf       []int    // by query of next: the query of old; -1: none
	blockOf       []int    // by block of next
	used          []bool   // by query of old
}

// identify matches the queries of two versions: by name, then by the former name that the
// text states, then by the name in the state; unnamed ones by their text.
func identify(old, next *siddhiql.Plan) *identity {
	d := &identity{old: old, next: next, names: queryNames(old), blocks: blockNames(old), used: make([]bool, len(old.Queries))}
	for range next.Queries {
		d.queryOf = append(d.queryOf, -1)
	}
	named := map[string]bool{}
	for _, q := range next.Queries {
		named[q.Name] = q.Name != ""
	}
	d.match(func(_, o int, q, was *siddhiql.Query) bool { return q.Name != "" && q.Name == was.Name })
	d.match(func(_, o int, q, was *siddhiql.Query) bool {
		return q.Was != "" && (q.Was == was.Name || q.Was == d.names[o] && !named[was.Name])
	})
	d.match(func(_, o int, q, was *siddhiql.Query) bool {
		return q.Name != "" && q.Name == d.names[o] && !named[was.Name]
	})
	d.match(func(_, o int, q, was *siddhiql.Query) bool {
		return was.Name == "" && q.Text == was.Text && (q.Block < 0) == (was.Block < 0)
	})
	d.matchBlocks()
	return d
}

// match links queries that are not linked yet, in the order written.
func (d *identity) match(same func(n, o int, q, was *siddhiql.Query) bool) {
	for n, q := range d.next.Queries {
		for o, was := range d.old.Queries {
			if d.queryOf[n] < 0 && !d.used[o] && same(n, o, q, was) {
				d.queryOf[n], d.used[o] = o, true
			}
		}
	}
}

// matchBlocks links blocks that have a query in common, then those with the same keys.
func (d *identity) matchBlocks() {
	used := make([]bool, len(d.old.Blocks))
	for range d.next.Blocks {
		d.blockOf = append(d.blockOf, -1)
	}
	link := func(n, o int) {
		if o >= 0 && d.blockOf[n] < 0 && !used[o] {
			d.blockOf[n], used[o] = o, true
		}
	}
	for n, q := range d.next.Queries {
		if o := d.queryOf[n]; o >= 0 && q.Block >= 0 {
			link(q.Block, d.old.Queries[o].Block)
		}
	}
	for n, b := range d.next.Blocks {
		for o, was := range d.old.Blocks {
			if slices.EqualFunc(b.Keys, was.Keys, func(x, y siddhiql.PartitionKey) bool { return x.Text == y.Text }) {
				link(n, o)
			}
		}
	}
}

// change names the queries and blocks of the next version: matched ones keep their names,
// and the others get names that no component of the old version has.
func (d *identity) change() Change {
	plain := *d.next // what the text alone gives
	c := Change{Queries: queryNames(&plain), Blocks: blockNames(&plain)}
	usual := Change{Queries: slices.Clone(c.Queries), Blocks: slices.Clone(c.Blocks)}
	rename(c.Queries, d.queryOf, d.names)
	rename(c.Blocks, d.blockOf, d.blocks)
	if slices.Equal(c.Queries, usual.Queries) {
		c.Queries = nil
	}
	if slices.Equal(c.Blocks, usual.Blocks) {
		c.Blocks = nil
	}
	return c
}

func rename(names []string, of []int, old []string) {
	taken := map[string]bool{}
	for _, name := range old {
		taken[name] = true
	}
	for i, o := range of {
		if o >= 0 {
			names[i] = old[o]
		} else {
			names[i] = free(names[i], taken)
			taken[names[i]] = true
		}
	}
}
