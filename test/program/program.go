// Package program builds the program that tests run as processes, and waits for what those
// do. How they are started, and what is done to them, is each test's business.
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

// Main builds the program, with flags of go build, into the file that binary is set to, and
// runs the tests. It returns the exit code.
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

// Build builds the program into a file, with flags of go build.
func Build(file string, flags ...string) error {
	args := append([]string{"build", "-o", file}, flags...)
	out, err := exec.Command("go", append(args, "github.com/eventflux/eventflux/cmd/eventflux")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// Eventually waits until done holds, but not beyond patience.
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

// given has the addresses that were handed out; no process may listen on them yet.
var given sync.Map

// Address returns one of loopback that is free, and each once. It lies below the ports that
// systems give to connections, so that none of those takes it before its server does.
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
