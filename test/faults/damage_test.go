package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	damagedApp = `@app:name('A') define stream S (v long, t string); from S select v insert into Out;`
	otherApp   = `@app:name('Other') define stream O (v long); from O select v insert into OtherOut;`
	frames     = 40 // one event each
)

// TestDamagedLog damages the log of an app on disk while no process runs. The NATS server alone
// would skip a damaged record, or forget everything after it. EventFlux leaves a hole where the
// damage is, so the task must halt and name it, at this start and the next ones, even if others
// publish in the meantime. Nothing is skipped or repeated.
func TestDamagedLog(t *testing.T) {
	const middle = 1 + frames/2 // the first frame is the deploy frame
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, msgs string)
		index  bool // the server's index of the log survives
		seq    int  // where the task halts
		says   []string
	}{
		{"bit flipped", flipBit, true, middle, []string{"sequence", "missing"}},
		{"bit flipped, index lost", flipBit, false, middle, []string{"sequence 22 follows 20", "1 records are missing"}},
		{"truncated", truncate, true, middle, []string{"sequence", "missing"}},
		{"truncated, index lost", truncate, false, middle, []string{"sequence 42 follows 20", "21 records are missing"}},
		{"zero-filled tail", zeroTail, true, middle, []string{"sequence", "missing"}},
		{"zero-filled tail, index lost", zeroTail, false, middle, []string{"sequence 42 follows 20", "21 records are missing"}},
		{"gone", remove, false, 1, []string{"sequence 1 was asked for", "starts at 42"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			app, other := write(t, "a.siddhi", damagedApp), write(t, "other.siddhi", otherApp)
			data := t.TempDir()
			// Without a checkpoint, the whole log is needed.
			p := serving(t, data, app, other, "--checkpoint.interval=1h")
			nc := p.connect()
			for i := range frames {
				publish(t, nc, "S", fmt.Sprintf(`{"v":%d,"t":"%s%d"}`, i, marker, i+1))
			}
			awaitResults(t, nc, "A", frames)
			p.signal(syscall.SIGKILL)
			p.end()
			before := storedOf(t, data, "A")
			if n := before.count(); n != frames {
				t.Fatalf("%d results before the damage, want %d", n, frames)
			}

			msgs := filepath.Join(data, "nats", "jetstream", "$G", "streams", "EFW_A_0", "msgs")
			c.damage(t, msgs)
			if !c.index {
				must(t, os.Remove(filepath.Join(msgs, "index.db")))
			}

			for range 3 {
				p = serving(t, data, app, other)
				checkHalted(t, p, "A", c.seq, c.says...)
				checkGoesOn(t, p, "Other", "O", `{"v":2}`, "out.Other.OtherOut.0")
				nc := p.connect()
				for i := range frames { // they get the sequences of the lost frames
					publish(t, nc, "S", fmt.Sprintf(`{"v":%d,"t":"later"}`, frames+i))
				}
				p.stop()
				if after := storedOf(t, data, "A"); fmt.Sprint(after) != fmt.Sprint(before) {
					t.Fatalf("results are %v, before the damage %v", after, before)
				}
			}
		})
	}
}

// TestDamagedLogWithoutResults damages a log before any result is out and any checkpoint is made,
// so only the witness knows what the log held.
func TestDamagedLogWithoutResults(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, msgs string)
		says   string
	}{
		{"bit flipped", flipBit, "sequence 22 follows 20, so 1 records are missing"},
		{"truncated", truncate, "sequence 42 follows 20, so 21 records are missing"},
		{"gone", remove, "the log starts at 42"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			app := write(t, "b.siddhi", `@app:name('B') define stream S (v long, t string); from S#window.lengthBatch(50) select sum(v) as v insert into Out;`)
			other := write(t, "other.siddhi", otherApp)
			data := t.TempDir()
			p := serving(t, data, app, other, "--checkpoint.interval=1h")
			nc := p.connect()
			for i := range frames {
				publish(t, nc, "S", fmt.Sprintf(`{"v":%d,"t":"%s%d"}`, i, marker, i+1))
			}
			p.signal(syscall.SIGKILL)
			p.end()
			c.damage(t, filepath.Join(data, "nats", "jetstream", "$G", "streams", "EFW_B_0", "msgs"))
			for round := range 2 {
				p = serving(t, data, app, other)
				checkHalted(t, p, "B", map[bool]int{true: 1, false: 1 + frames/2}[c.name == "gone"], c.says)
				checkGoesOn(t, p, "Other", "O", `{"v":2}`, "out.Other.OtherOut.0")
				if round == 0 && !strings.Contains(p.log.String(), "JetStream stream EFW_B_0") {
					t.Errorf("the log of the start does not name the stream:\n%s", p.log.String())
				}
				publish(t, p.connect(), "S", `{"v":1,"t":"later"}`)
				p.stop()
			}
			if c.name == "gone" {
				return // nothing is left to go on with
			}
			// An operator accepts the loss, and the app continues with the rest.
			out, err := exec.Command(binary, "recover", "--log", "--accept-loss", "--data", data).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "EFW_B_0") || !strings.Contains(string(out), "accepted") {
				t.Fatalf("recover --log: %v\n%s", err, out)
			}
			p = serving(t, data, app, other)
			for range 60 { // one full window, however many were lost
				publish(t, p.connect(), "S", `{"v":1,"t":"after"}`)
			}
			awaitResults(t, p.connect(), "B", 1)
			awaitState(t, p, "B", "running")
			p.stop()
		})
	}
}

// awaitResults waits until an app has n durable results. Fences do not count: the task decides how
// many there are.
func awaitResults(t *testing.T, nc *nats.Conn, app string, n uint64) {
	t.Helper()
	js, err := nc.JetStream()
	must(t, err)
	for deadline := time.Now().Add(patience); ; {
		info, err := js.StreamInfo(natsconn.OutStream(app, 0), &nats.StreamInfoRequest{SubjectsFilter: natsconn.OutSubjects(app, 0)})
		must(t, err)
		var got uint64
		for _, messages := range info.State.Subjects {
			got += messages
		}
		if got >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d results of app %s after %s, want %d", got, app, patience, n)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestDoctorNamesDamagedRecords damages a record of a log while the process runs. The scrub finds it,
// and doctor names the sequence and the file, and says what it means: before a checkpoint covers the
// record, and afterwards.
func TestDoctorNamesDamagedRecords(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := runArmed(t, []string{"span scrub 100ms"}, data, write(t, "a.siddhi", damagedApp), "--checkpoint.interval=1h", "--retention.span=100h")
	p.awaitReady()
	o := operate(p)
	for i := range frames {
		publish(t, o.nc, "S", fmt.Sprintf(`{"v":%d,"t":"%s%d"}`, i, marker, i+1))
	}
	awaitResults(t, o.nc, "A", frames)
	says := func(texts ...string) {
		t.Helper()
		var out string
		eventually(t, fmt.Sprintf("doctor says %q", texts), func() bool {
			out, _ = o.try("doctor") // a problem is exit code 1
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(out, text) })
		})
	}
	says("the last scrub of its files ended at")
	msgs := filepath.Join(data, "nats", "jetstream", "$G", "streams", "EFW_A_0", "msgs")
	flipBit(t, msgs)
	says(fmt.Sprintf("sequence %d cannot be read: %s", 1+frames/2, filepath.Join(msgs, "1.blk")), "the task has applied it", "checkpoint trigger A", "the last scrub of its files ended at")
	o.command("checkpoint", "trigger", "A")
	says(fmt.Sprintf("sequence %d cannot be read", 1+frames/2), "Checkpoint 1 of app A covers it, so no task needs it")
	p.stop()
}

// marker precedes the number in the text of each frame.
const marker = "text of frame "

// block returns the file with the log, and the offset of the middle frame's text.
func block(t *testing.T, msgs string) (file string, content []byte, at int) {
	t.Helper()
	file = filepath.Join(msgs, "1.blk")
	content, err := os.ReadFile(file)
	must(t, err)
	at = bytes.Index(content, fmt.Appendf(nil, "%s%d", marker, frames/2))
	if at < 0 {
		t.Fatalf("%s: no text of frame %d in %d bytes", file, frames/2, len(content))
	}
	return file, content, at
}

func flipBit(t *testing.T, msgs string) {
	t.Helper()
	file, content, at := block(t, msgs)
	content[at] ^= 1
	must(t, os.WriteFile(file, content, 0o600))
}

func truncate(t *testing.T, msgs string) {
	t.Helper()
	file, _, at := block(t, msgs)
	must(t, os.Truncate(file, int64(at)))
}

func zeroTail(t *testing.T, msgs string) {
	t.Helper()
	file, content, at := block(t, msgs)
	clear(content[at:])
	must(t, os.WriteFile(file, content, 0o600))
}

func remove(t *testing.T, msgs string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(msgs, "*"))
	must(t, err)
	for _, file := range files {
		if !strings.HasSuffix(file, "index.db") {
			must(t, os.Remove(file))
		}
	}
}

// TestOldRaft starts with a Raft folder that is older than the store. The folder misses decisions,
// so the start is refused. With the newer folder back, the process runs again.
func TestOldRaft(t *testing.T) {
	t.Parallel()
	good := write(t, "good.siddhi", `@app:name('Good') define stream S (v long); from S select v insert into Out;`)
	data, aside := t.TempDir(), t.TempDir()
	serving(t, data, good).stop() // each stop makes a checkpoint
	must(t, os.CopyFS(filepath.Join(aside, "old"), os.DirFS(filepath.Join(data, "raft"))))
	p := serving(t, data, good)
	publish(t, p.connect(), "S", `{"v":1}`)
	p.stop()
	must(t, os.Rename(filepath.Join(data, "raft"), filepath.Join(aside, "new")))
	must(t, os.Rename(filepath.Join(aside, "old"), filepath.Join(data, "raft")))
	checkRefused(t, run(t, data, good), filepath.Join(data, "raft"), "older than the store", "app Good", "recover APP --adopt")

	must(t, os.RemoveAll(filepath.Join(data, "raft")))
	must(t, os.Rename(filepath.Join(aside, "new"), filepath.Join(data, "raft")))
	p = serving(t, data, good)
	checkGoesOn(t, p, "Good", "S", `{"v":3}`, "out.Good.Out.0")
	p.stop()
}
