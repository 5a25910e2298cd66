package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDebug checks that the eventflux debug commands print what a process left on disk.
func TestDebug(t *testing.T) {
	t.Parallel()
	app := write(t, "a.siddhi", `@app:name('A') define stream S (v long, t string); @info(name='q') from S#window.length(2) select sum(v) as v insert into Out;`)
	data := t.TempDir()
	p := serving(t, data, app, "--checkpoint.interval=1h")
	nc := p.connect()
	for range 3 {
		publish(t, nc, "S", `{"v":1,"t":"x"}`)
	}
	awaitResults(t, nc, "A", 3)
	debug := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(binary, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("eventflux %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	debug("checkpoint", "trigger", "A", "--server", nc.ConnectedUrl())
	frames := debug("debug", "frames", "A", "--data", data) // while the process runs
	p.signal(syscall.SIGTERM)
	p.end()
	for _, c := range []struct {
		out  string
		want []string
	}{
		{frames, []string{"\tdeploy\t", "level 1", "\tS 1\n", "\tbarrier\t", "epoch 1"}},
		{debug("debug", "fence", "A", "0", "--data", data), []string{"ef.fence.A.0", `"owner":`}},
		{debug("debug", "fence", "A", "--results", "--data", data), []string{"out.A.Out.0", "Ef-Position"}},
		{debug("debug", "run", "A", "1", "q/window", "--data", data), []string{"base\tepoch 1", "\tput\t"}},
		{debug("debug", "raft", "--data", data), []string{"LogCommand", `"kind":"deploy"`}},
	} {
		for _, w := range c.want {
			if !strings.Contains(c.out, w) {
				t.Errorf("no %q in\n%s", w, c.out)
			}
		}
	}

	flipLast(t, filepath.Join(data, "nats", "jetstream", "$G", "streams", "EFW_A_0", "msgs", "1.blk"))
	if out := debug("debug", "frames", "A", "--data", data); !strings.Contains(out, "damaged\t") || !strings.Contains(out, "checksum") {
		t.Errorf("a damaged record is not named in\n%s", out)
	}
}

// flipLast flips a bit of the last record in a file.
func flipLast(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	content[len(content)-12] ^= 1
	must(t, os.WriteFile(file, content, 0o600))
}
