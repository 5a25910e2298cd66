// Package program builds the program that tests run as processes, and waits for conditions. Each
// test starts and stops its own processes.
package program

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Main builds the program with the given flags of go build, sets binary to its path, and runs the
// tests. It returns the exit code.
func Main(m *testing.M, binary *string, flags ...string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "build the program under test:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "eventflux-test-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	*binary = filepath.Join(dir, "eventflux")
	if err := Build(*binary, flags...); err != nil {
		return fail(err)
	}
	return m.Run()
}

// Stripped are the flags of the linker for a program without what only debuggers need.
const Stripped = "-s -w"

// Build builds the program into a file, with the given flags of go build, and without what only
// debuggers need: linking that takes long.
func Build(file string, flags ...string) error {
	args := append([]string{"build", "-o", file, "-ldflags", Stripped}, flags...)
	out, err := exec.Command("go", append(args, "github.com/eventflux/eventflux/cmd/eventflux")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// Eventually waits until done returns true. It fails the test after patience.
func Eventually(t testing.TB, patience time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

// given holds the addresses that were handed out: their processes may not listen yet.
var given sync.Map

// Address returns a free loopback address, each one only once. The port is below the range for
// outgoing connections, so that none of those can take it before the server listens.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		at := fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(20_000))
		if _, taken := given.LoadOrStore(at, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", at); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	t.Fatal("no port of loopback is free")
	return ""
}
