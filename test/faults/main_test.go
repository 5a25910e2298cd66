package faults

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eventflux/eventflux/test/program"
)

// The long form sets these flags.
var (
	kills    = flag.Int("kills", 2, "number of kills, and of stops")
	events   = flag.Int("events", 1500, "number of events to publish")
	points   = flag.Int("points", 2, "number of steps of the protocol to kill a leader at; 0 for each")
	restores = flag.Int("restores", 2, "number of kills in the middle of merges and restores")
	race     = flag.Bool("racebinary", false, "build the binary with the race detector")
	seed     = flag.Uint64("seed", 0, "of the random numbers; 0 chooses one")
	during   = flag.Duration("duration", 4*time.Second, "how long to inject faults into a cluster")
)

// binary is the path of the program under test.
var binary string

func TestMain(m *testing.M) {
	if code, done := otherwise(); done {
		os.Exit(code)
	}
	flag.Parse()
	os.Exit(program.Main(m, &binary, buildFlags()...))
}

func buildFlags() []string {
	flags := []string{"-tags", "faultpoints,invariants"}
	if *race {
		flags = append(flags, "-race")
	}
	return flags
}

// random returns a source of random numbers, and logs its seed.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; repeat with -seed %d", s, s)
	return rand.New(rand.NewPCG(s, 1))
}

// app returns the path of an app in testdata.
func app(name string) string { return filepath.Join("testdata", name+".siddhi") }

// write writes text to a file in a temporary folder of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	program.Eventually(t, patience, what, done)
}

// patience is the longest that anything may take on a busy machine.
const patience = 5 * time.Minute
