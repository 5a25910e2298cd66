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

// What makes the long form.
var (
	kills    = flag.Int("kills", 3, "number of kills, and of stops")
	events   = flag.Int("events", 3000, "number of events published meanwhile")
	points   = flag.Int("points", 4, "number of steps of the protocol at which a leader is killed; 0 for each")
	restores = flag.Int("restores", 8, "number of kills in the middle of merges and restores")
	race     = flag.Bool("racebinary", false, "build the binary with the race detector")
	seed     = flag.Uint64("seed", 0, "of all that is random; 0 chooses one")
	during   = flag.Duration("duration", 10*time.Second, "how long a cluster has troubles")
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
	flags := []string{"-tags", "faultpoints"}
	if *race {
		flags = append(flags, "-race")
	}
	return flags
}

// random returns a source whose seed is in the test's log.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; repeat with -seed %d", s, s)
	return rand.New(rand.NewPCG(s, 1))
}

// app returns the path of an app of testdata.
func app(name string) string { return filepath.Join("testdata", name+".siddhi") }

// write makes a file of text in a folder of the test.
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

// patience is how long anything may take on a busy machine.
const patience = 5 * time.Minute
