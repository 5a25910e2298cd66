package deploy

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// root is the repository's.
const root = "../.."

// patience is how long anything may take on a busy machine. A JetStream cluster alone
// takes up to ten seconds to elect.
const patience = time.Minute

var events = flag.Int("events", 2000, "number of events published while containers are killed")

// binary is the path of the program under test.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the program under test:", err)
		code = 1
	}
	os.Exit(code)
}

// build builds the program, and runs the tests on it.
func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "eventflux-deploy-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "eventflux")
	out, err := exec.Command("go", "build", "-o", binary, "eventflux/cmd/eventflux").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	return m.Run(), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until done holds.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}
