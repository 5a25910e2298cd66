package deploy

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/eventflux/eventflux/test/program"
)

// root is the root of the repository.
const root = "../.."

// patience is the longest that anything may take on a busy machine. A JetStream cluster alone needs
// up to ten seconds for an election.
const patience = 5 * time.Minute

var events = flag.Int("events", 2000, "number of events published while containers are killed")

// binary is the path of the program under test.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(program.Main(m, &binary))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	program.Eventually(t, patience, what, done)
}
