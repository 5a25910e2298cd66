package rescale_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain makes all tests use the same random events in each run, unless a flag of rapid asks for
// more or for others.
func TestMain(m *testing.M) {
	flag.Parse()
	seed, checks := flag.Lookup("rapid.seed"), flag.Lookup("rapid.checks")
	if seed.Value.String() == seed.DefValue && checks.Value.String() == checks.DefValue {
		if err := seed.Value.Set("1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
