package engine_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// With -rewrite-level the golden log of the newest level is written again. That is right
// before the release that fixes the level, and for a new level in a folder of its own.
var rewriteLevel = flag.Bool("rewrite-level", false, "write the golden log of the newest level again")

const levelFolder = "testdata/levels/1"

// A log gives the same results at the same positions and clocks forever. The golden log of
// a level has its deploy frame first, followed by windows, aggregates, partitions and
// message ids.
//
// Where this fails, apply gives something else than it gave, and results that are out
// would not be those of the log any more. If the change is wanted, and the level was
// released, it needs a new level: a deploy frame with it is written at deploy, tasks keep
// the rules of the level before, and a new folder gets the log and the results of the new
// one.
func TestGoldenLogs(t *testing.T) {
	logFile, rowsFile := filepath.Join(levelFolder, "log"), filepath.Join(levelFolder, "rows.txt")
	if *rewriteLevel {
		writeLevel(t, logFile)
	}
	data, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	var frames []*frame.Frame
	for len(data) > 0 {
		size := binary.LittleEndian.Uint32(data[8:])
		f, err := new(frame.Decoder).Decode(data[:size])
		if err != nil {
			t.Fatal(err)
		}
		frames, data = append(frames, f), data[size:]
	}
	plan, err := siddhiql.CompileDeployed(frames[0].Deploy.Text)
	if err != nil {
		t.Fatal(err)
	}
	task, err := engine.NewTask(plan, 0, goldenSettings)
	if err != nil {
		t.Fatal(err)
	}
	got := []byte(applyGolden(t, task, frames, 0))
	if *rewriteLevel {
		if err := os.WriteFile(rowsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(rowsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
		for i := range w {
			if i >= len(g) || !bytes.Equal(g[i], w[i]) {
				t.Fatalf("line %d of %s is %q, and the log gives %q", i+1, rowsFile, w[i], g[min(i, len(g)-1)])
			}
		}
		t.Fatalf("the log gives %d lines, and %s has %d", len(g), rowsFile, len(w))
	}
}

// levelFrames is how many frames of events a golden log has.
const levelFrames = 150

func writeLevel(t *testing.T, file string) {
	t.Helper()
	plan := goldenPlan(t)
	frames := append([]*frame.Frame{deployOf(plan, goldenApp)}, goldenInput(t, plan)[:levelFrames]...)
	var data []byte
	prev := map[uint64]uint32{} // by writer
	for _, f := range frames {
		f.Prev = prev[f.Writer]
		var err error
		if data, err = new(frame.Encoder).Append(data, f, compress.LZ4); err != nil {
			t.Fatal(err)
		}
		prev[f.Writer] = f.CRC
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
