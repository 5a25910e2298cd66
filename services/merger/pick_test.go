package merger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// TestPicks runs the scripts. Each line of a manifest is the chain of a component, each
// word a run: its epoch and its bytes in KiB, and the pack that has it, with the bytes of that.
//
//	manifest epoch=5
//	q/window 1:100 2:10 5:10@b/40
func TestPicks(t *testing.T) {
	datadriven.Walk(t, "testdata/picks", func(t *testing.T, path string) {
		l := limits{chainMax: 4, ratio: 0.5, dead: 100 << 10}
		var merged *checkpoint.Manifest
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "limits":
				d.ScanArgs(t, "chain_max", &l.chainMax)
				if d.HasArg("ratio") {
					var text string
					d.ScanArgs(t, "ratio", &text)
					if _, err := fmt.Sscan(text, &l.ratio); err != nil {
						d.Fatalf(t, "%v", err)
					}
				}
				return ""
			case "merged":
				merged = readManifest(t, d)
				return ""
			case "moves":
				m := readManifest(t, d)
				moves, packs := l.movesOf(m, merged, l.picks(m, merged))
				return formatMoves(moves, packs, m)
			case "manifest":
				return format(l.picks(readManifest(t, d), merged), readManifest(t, d))
			}
			d.Fatalf(t, "unknown command")
			return ""
		})
	})
}

func readManifest(t *testing.T, d *datadriven.TestData) *checkpoint.Manifest {
	m := &checkpoint.Manifest{Generation: 1, Partitions: []checkpoint.Partition{{}}}
	var epoch, generation int
	d.ScanArgs(t, "epoch", &epoch)
	m.Epoch = state.Epoch(epoch)
	if d.HasArg("generation") {
		d.ScanArgs(t, "generation", &generation)
		m.Generation = checkpoint.Generation(generation)
	}
	at := map[string]int64{} // end of the last run in each pack
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		c := checkpoint.Component{ID: words[0], Version: "1.0.0"}
		for i, word := range words[1:] {
			var r checkpoint.Run
			word, pack, packed := strings.Cut(word, "@")
			if _, err := fmt.Sscanf(word, "%d:%d", &r.Epoch, &r.RawBytes); err != nil {
				d.Fatalf(t, "run %q: %v", word, err)
			}
			r.RawBytes <<= 10
			r.Bytes, r.Name = r.RawBytes, fmt.Sprint(words[0], i)
			if packed {
				name, size, _ := strings.Cut(pack, "/")
				if _, err := fmt.Sscan(size, &r.PackBytes); err != nil {
					d.Fatalf(t, "pack %q: %v", pack, err)
				}
				r.PackBytes <<= 10
				at[name] += r.Bytes
				r.Pack, r.Offset = name, at[name]
			}
			if r.Kind = checkpoint.Delta; i == 0 {
				r.Kind = checkpoint.Base
			}
			c.Runs = append(c.Runs, r)
		}
		m.Partitions[0].Components = append(m.Partitions[0].Components, c)
	}
	return m
}

func format(picked []pick, m *checkpoint.Manifest) string {
	if len(picked) == 0 {
		return "nothing\n"
	}
	var b strings.Builder
	for _, p := range picked {
		fmt.Fprintf(&b, "%s:", m.Partitions[p.partition].Components[p.component].ID)
		for _, r := range p.runs {
			fmt.Fprintf(&b, " %d:%d", r.Epoch, r.RawBytes>>10)
		}
		fmt.Fprintf(&b, " (%s)\n", p.why)
	}
	return b.String()
}

func formatMoves(moves []move, packs map[string]bool, m *checkpoint.Manifest) string {
	if len(moves) == 0 {
		return "nothing\n"
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(packs)) {
		fmt.Fprintf(&b, "leave %s\n", name)
	}
	for _, c := range moves {
		fmt.Fprintf(&b, "%s:", m.Partitions[c.partition].Components[c.component].ID)
		for _, r := range c.runs {
			fmt.Fprintf(&b, " %d:%d@%s", r.Epoch, r.RawBytes>>10, r.Pack)
		}
		b.WriteString("\n")
	}
	return b.String()
}
