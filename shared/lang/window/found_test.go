package window_test

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// index is what a join keeps of a window: the ids of the rows found, in order, with what it
// was told of them.
type index struct {
	t    fataler
	w    window.Searched
	ids  []uint64
	told map[uint64]string
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func follow(t fataler, w window.Window) *index {
	x := &index{t: t, w: w.(window.Searched), told: map[uint64]string{}}
	x.w.Follow(x)
	x.w.Each(func(id uint64, r window.Row) bool { x.Enter(id, r); return true })
	return x
}

func (x *index) Enter(id uint64, r window.Row) {
	if _, there := x.told[id]; there {
		x.t.Fatalf("row %s enters as %d, which is there", content(r), id)
	}
	at := sort.Search(len(x.ids), func(i int) bool { return x.told[x.ids[i]] != "" && x.w.Before(id, x.ids[i]) })
	x.ids = slices.Insert(x.ids, at, id)
	x.told[id] = content(r)
}

func (x *index) Leave(id uint64, r window.Row) {
	if x.told[id] != content(r) || content(x.w.Found(id)) != content(r) {
		x.t.Fatalf("row %s leaves as %d, which is %q", content(r), id, x.told[id])
	}
	delete(x.told, id)
	x.ids = slices.DeleteFunc(x.ids, func(o uint64) bool { return o == id })
}

// check compares the index with the window.
func (x *index) check() {
	var want []string
	x.w.Each(func(id uint64, r window.Row) bool {
		want = append(want, fmt.Sprint(id, content(r)))
		return true
	})
	var got []string
	for _, id := range x.ids {
		got = append(got, fmt.Sprint(id, content(x.w.Found(id))))
		if x.told[id] != content(x.w.Found(id)) {
			x.t.Fatalf("row %d is %s, and was told as %s", id, content(x.w.Found(id)), x.told[id])
		}
	}
	if !slices.Equal(got, want) {
		x.t.Fatalf("by what was told, a look-up finds\n%q, and it finds\n%q", got, want)
	}
}

func content(r window.Row) string {
	var b strings.Builder
	for i := range r.B.Cols {
		c := &r.B.Cols[i]
		switch {
		case c.IsNull(int(r.I)):
			b.WriteString(" null")
		case c.Type.Class() == event.Texts:
			fmt.Fprintf(&b, " %s", c.Text(int(r.I)))
		default:
			fmt.Fprintf(&b, " %d", c.Ints[r.I])
		}
	}
	return fmt.Sprintf("@%d%s", r.TS, b.String())
}

// TestFollowersKnowWhatIsFound adds random rows to every window: a follower knows exactly the rows
// that a look-up finds, in the same order.
func TestFollowersKnowWhatIsFound(t *testing.T) {
	for _, test := range states {
		t.Run(test.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				d := newDriven(test.window, test.params, &window.Env{}, true)
				x := follow(t, d.Window)
				for range rapid.IntRange(1, 40).Draw(t, "steps") {
					switch rapid.IntRange(0, 19).Draw(t, "what") {
					case 0:
						x = follow(t, d.Window)
					case 1:
						d.restart(t)
						x = follow(t, d.Window)
					default:
						d.step(t)
					}
					x.check()
				}
			})
		})
	}
}

// TestScripts runs testdata/windows/*.txt:
//
//	window  makes the window that the rest of the line names, of rows k string, v int, t long
//	at      moves the clock to that ms, and then rows come together, if there are some: one to a
//	        line, with an own time before it unless that is the clock; t is v times 100 if it is
//	        left out
//
// The output has a line for each chunk: rows as kind, time and values; then the rows that a
// look-up finds.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/windows", func(t *testing.T, path string) {
		var d *driven
		var x *index
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			if c.Cmd == "window" {
				d = compiled(t, strings.TrimSpace(c.Input))
				x = follow(t, d.Window)
				return ""
			}
			var now int64
			if _, err := fmt.Sscan(c.CmdArgs[0].Key, &now); err != nil {
				c.Fatalf(t, "no time: %v", err)
			}
			out := &strings.Builder{}
			emit := func(chunk []window.Row) { printChunk(out, chunk) }
			d.advance(now, emit)
			if c.Input != "" {
				d.Add(scriptRows(t, now, c.Input), emit)
			}
			x.check()
			out.WriteString("found:")
			x.w.Each(func(_ uint64, r window.Row) bool {
				fmt.Fprintf(out, " %s", content(r))
				return true
			})
			return out.String() + "\n"
		})
	})
}

// compiled returns the window of that text.
func compiled(t *testing.T, text string) *driven {
	plan, err := siddhiql.Compile("define stream S (k string, v int, t long); from S#window." + text + " select * insert all events into O;")
	if err != nil {
		t.Fatal(err)
	}
	w := plan.Queries[0].Window
	return newDriven(w.Name, w.Params, &window.Env{}, true)
}

func scriptRows(t *testing.T, now int64, text string) []window.Row {
	b := event.NewBatch(rowSchema)
	var chunk []window.Row
	for line := range strings.Lines(text) {
		ts, fields := now, strings.Fields(line)
		if after, ok := strings.CutPrefix(fields[0], "@"); ok {
			fmt.Sscan(after, &ts)
			fields = fields[1:]
		}
		if fields[0] == "null" {
			b.Cols[0].AppendNull()
		} else {
			b.Cols[0].AppendText(fields[0])
		}
		var v, own int64
		fmt.Sscan(fields[1], &v)
		own = 100 * v
		if len(fields) > 2 {
			fmt.Sscan(fields[2], &own)
		}
		b.Cols[1].AppendInt(v)
		b.Cols[2].AppendInt(own)
		b.TS = append(b.TS, ts)
		chunk = append(chunk, window.Row{B: b, I: int32(len(chunk)), TS: ts})
	}
	return chunk
}

func printChunk(out *strings.Builder, chunk []window.Row) {
	for i, r := range chunk {
		if i > 0 {
			out.WriteString(" | ")
		}
		if r.Kind == window.Reset {
			out.WriteString("R")
			continue
		}
		fmt.Fprintf(out, "%c %s", "CE"[r.Kind], content(r))
	}
	out.WriteString("\n")
}
