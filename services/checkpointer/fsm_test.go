package checkpointer

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const thisVersion = "1.2.3"

type fataler interface{ Fatal(args ...any) }

func newFSM(t fataler) *FSM {
	f, err := NewFSM(thisVersion)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A member halts at a command that it does not know completely, instead of computing another
// state than the other members. It applies nothing after that, and makes no snapshot without
// the command.
func TestHaltsAtTheUnknown(t *testing.T) {
	const deploy = `{"version":"1.2.3","kind":"deploy","app":"a","deploy":{"name":"a","plan":"p","partitions":1}}`
	for name, c := range map[string]struct{ command, says string }{
		"a kind of a later minor version": {`{"version":"1.4.0","kind":"pause","app":"a"}`, `it is a "pause" of version 1.4.0, which this version does not know; run version 1.4.0 here`},
		"a field of a later minor one":    {`{"version":"1.4.0","kind":"place","app":"a","weight":2}`, `with fields that this version does not know: json: unknown field "weight"; run version 1.4.0 here`},
		"a field within a field":          {`{"version":"1.4.0","kind":"attach","app":"a","owner":{"partition":0,"zone":"x"}}`, `unknown field "zone"; run version 1.4.0 here`},
		"a later major version":           {`{"version":"2.0.0","kind":"place","app":"a"}`, `version 2.0.0 proposed it, and this is a version 1.x; run version 2.0.0 here`},
		"no version":                      {`{"kind":"place","app":"a"}`, `version "" is none`},
		"no app, and still":               {`{"version":"1.4.0","kind":"pause"}`, `"pause" of version 1.4.0`},
		"no JSON":                         {`place`, `invalid character`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFSM(t)
			if no := f.Apply(&raft.Log{Index: 6, Data: []byte(deploy)}); no != nil {
				t.Fatal(no)
			}
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
			if got := refused(f.Apply(&raft.Log{Index: 7, Data: []byte(c.command)})); !strings.Contains(got, "entry 7 of the Raft log: ") || !strings.Contains(got, c.says) {
				t.Errorf("answered %q, want %q in it", got, c.says)
			}
			select {
			case <-f.Halted():
			default:
				t.Error("not halted")
			}
			if got := refused(f.Apply(&raft.Log{Index: 8, Data: []byte(`{"version":"1.2.3","kind":"forget","app":"a"}`)})); got == "" || f.app("a") == nil {
				t.Errorf("continued after it, with %q", got)
			}
			if _, err := f.Snapshot(); err == nil {
				t.Error("a snapshot was taken without the command")
			}
		})
	}
}

// Commands of an earlier major version are applied: a whole group is stopped and started
// with the next one.
func TestEarlierCommands(t *testing.T) {
	f := newFSM(t)
	if no := f.Apply(&raft.Log{Index: 1, Data: []byte(`{"version":"0.9.0","kind":"deploy","app":"a","deploy":{"name":"a","partitions":1}}`)}); no != nil || f.Err() != nil {
		t.Error(no, f.Err())
	}
}

// A snapshot with unknown parts halts the member too: otherwise Raft would use an older one,
// or request this one forever.
func TestUnknownSnapshots(t *testing.T) {
	for _, c := range []struct{ snapshot, says string }{
		{`{"format":9,"apps":{}}`, "it has format 9, known are 1 to 8; run the version that wrote it or a newer one"},
		{`{"format":1,"apps":{},"zones":{}}`, `unknown field "zones"; run the version that wrote it or a newer one`},
		{`{"format":1,"apps":{"a":{"name":"a","zone":"x"}}}`, `unknown field "zone"`},
		{`{"apps":{}}`, "format 0"},
		{`{"format":1}`, "no apps"},
	} {
		f := newFSM(t)
		if err := f.Restore(io.NopCloser(strings.NewReader(c.snapshot))); err == nil || !strings.Contains(err.Error(), c.says) || f.Err() == nil {
			t.Errorf("%s: %v, want %q in it; halted: %v", c.snapshot, err, c.says, f.Err())
		}
	}
}

var rewriteLog = flag.Bool("rewrite-log", false, "rewrite the golden log of commands: only for a new major version")

// A golden log has commands, and the golden snapshot is the state after them. Members that
// are still in use, or the previous major version, have written both: if this test fails, a
// group of two versions diverges. A command with another effect needs a new kind. The log of
// major version 1 has every kind.
func TestGoldenLog(t *testing.T) {
	for _, major := range []string{"0", "1"} {
		t.Run(major, func(t *testing.T) { goldenLog(t, major) })
	}
}

func goldenLog(t *testing.T, major string) {
	logFile, snapshotFile := filepath.Join("testdata", "golden", major, "log.ndjson"), filepath.Join("testdata", "golden", major, "snapshot.json")
	rewrite := *rewriteLog && major == "1"
	if rewrite {
		var b bytes.Buffer
		for _, c := range everyKind() {
			c.Version = thisVersion
			line, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s\n", line)
		}
		writeGolden(t, logFile, b.Bytes())
	}
	commands, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	f, index, seen := newFSM(t), uint64(0), map[string]bool{}
	for line := range bytes.Lines(commands) {
		index++
		if no := refused(f.Apply(&raft.Log{Index: index, Data: line})); no != "" {
			t.Fatalf("entry %d: %s", index, no)
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		seen[c.Kind] = true
	}
	for _, kind := range commandKinds {
		if !seen[kind] && major == "1" {
			t.Errorf("there is no %q in the golden log", kind)
		}
	}
	taken, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, taken.(snapshot), "", " "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	if rewrite {
		writeGolden(t, snapshotFile, got.Bytes())
	}
	want, err := os.ReadFile(snapshotFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the state after the commands is\n%s\nwant the state of earlier versions,\n%s", got.Bytes(), want)
	}
	again := newFSM(t)
	if err := again.Restore(io.NopCloser(bytes.NewReader(want))); err != nil {
		t.Error(err)
	}
}

func writeGolden(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// everyKind returns commands of each kind, with all fields that they can have.
func everyKind() []*command {
	at := func(s int) time.Time { return begin.UTC().Add(time.Duration(s) * time.Second) }
	deploy := func(app string) *command {
		return &command{
			Kind: kindDeploy, App: app, Time: at(0), Epoch: 3, Term: 2,
			Deploy: &control.App{Name: app, Plan: "1f", Partitions: 2, Text: "define stream S (v long); from S insert into Out;", Settings: engine.Settings{DedupWindow: 120_000}, First: 2, Version: 1, Level: 1, Build: thisVersion, Stamp: 1_700_000_000_000},
		}
	}
	old := deploy("old") // as version 0.x deployed it
	old.Deploy.Version, old.Deploy.Level, old.Deploy.Build, old.Deploy.Stamp = 0, 0, "", 0
	commit := func(epoch state.Epoch, generation checkpoint.Generation) *command {
		return &command{Kind: kindCommit, App: "a", Commit: &committed{
			CheckpointRef: control.CheckpointRef{Generation: generation, Epoch: epoch, Term: 5, Time: at(int(epoch)), Manifest: checkpoint.ManifestName("a", epoch), Digest: fmt.Sprintf("d%d", epoch)},
			Held:          generation > 2, Barriers: []uint64{10, 11}, Bytes: 100, StateBytes: 1000, Stored: 2000, Milliseconds: 1.5,
		}}
	}
	open := func(epoch state.Epoch, restore *restoredAs) *command {
		return &command{Kind: kindOpen, App: "a", Epoch: epoch, Term: 5, Time: at(int(epoch)), ID: checkpoint.ID{byte(epoch)}, Restore: restore}
	}
	attach := func(p uint32) *command {
		return &command{Kind: kindAttach, App: "a", Owner: &control.Owner{Partition: p, Owner: fmt.Sprintf("o%d", p), Processor: "p1"}}
	}
	died := func(by string, p uint32, seq uint64) *command {
		return &command{Kind: kindDied, App: "a", Died: &control.Died{Incarnation: by, Frames: []control.AtWork{{App: "a", Index: 1, Partition: p, Sequence: seq}}}}
	}
	version := func(number uint32, plan string) *command {
		return &command{Kind: kindUpgrade, App: "changed", Time: at(int(number)), Upgrade: &control.Version{
			Number: number, Plan: plan, Level: 1, Build: thisVersion, Stamp: 1_700_000_000_000 + int64(number), Time: at(int(number)),
			Settings: engine.Settings{DedupWindow: 60_000}, Text: "define stream S (v double); from S insert into Out;",
			Change: `{"drop":["q/window"]}`, Of: number % 2, Dropped: []string{"q/window"},
		}}
	}
	scale := func(app string) *command {
		c := version(2, "3f")
		c.Kind, c.App, c.To = kindScale, app, 3
		return c
	}
	scaled := func(reason string) *command {
		return &command{Kind: kindScaled, App: "scaled", Upgrade: &control.Version{Number: 2}, Reason: reason}
	}
	divided := commit(4, 4)
	divided.App, divided.Commit.Versions, divided.Commit.Barriers = "scaled", []uint32{2, 2, 2}, []uint64{10, 11, 2}
	keep := version(2, "1f")
	keep.Kind, keep.App, keep.Epoch, keep.Term, keep.ID, keep.Restore = kindOpen, "kept", 4, 5, checkpoint.ID{4}, &restoredAs{ID: "r2"}
	kept := commit(4, 4)
	kept.App = "kept"
	changed := commit(4, 3)
	changed.App, changed.Commit.Versions = "changed", []uint32{1, 2}
	all := []*command{
		deploy("a"), deploy("gone"), deploy("going"),
		{Kind: kindPlace, App: "a", Partition: 0, Processor: "p1"},
		{Kind: kindPlace, App: "a", Partition: 1, Processor: "p1"},
		attach(0), attach(1),
		open(4, nil),
		{Kind: kindPrepared, App: "a", Epoch: 4, Partition: 0, Number: 6},
		{Kind: kindPrepared, App: "a", Epoch: 4, Partition: 1, Number: 7},
		commit(4, 2),
		open(5, nil),
		{Kind: kindAbort, App: "a", Epoch: 5, Reason: "partition 1: it is away"},
		open(6, nil), commit(6, 2),
		{Kind: kindSwap, App: "a", Replaces: "d6", Commit: &committed{
			CheckpointRef: control.CheckpointRef{Epoch: 6, Manifest: "apps/a/checkpoints/6-merged.json", Digest: "m6"}, Bytes: 50, StateBytes: 900,
		}},
		{Kind: kindRetire, App: "a", Epochs: []state.Epoch{4}},
		open(7, &restoredAs{ID: "r1"}), commit(7, 3),
		{Kind: kindRelease, App: "a"},
		open(8, nil),
		{Kind: kindPlace, App: "a", Partition: 1, Processor: "p2"},
		{Kind: kindRemove, App: "gone"},
		{Kind: kindForget, App: "gone"},
		{Kind: kindRemove, App: "going"},
		died("p1-1", 0, 9), died("p1-1", 1, 12), died("p1-2", 1, 12), died("p1-3", 1, 12),
		{Kind: kindPassed, App: "a", Passed: []control.Death{{Partition: 0, Sequence: 9, Count: 1, Incarnation: "p1-1"}}},
		{Kind: kindResume, App: "going"},
		old,
		{Kind: kindName, Cluster: "ONE"},
		{Kind: kindName, Cluster: "ANOTHER"},
		{Kind: kindTakeOver, App: "old", Deploy: &control.App{Version: 1, Level: 1, Build: thisVersion, Stamp: 1_700_000_000_000, After: []uint64{10, 0}}},
		deploy("changed"),
		version(2, "2f"),
		{Kind: kindUpgraded, App: "changed", Upgrade: &control.Version{Number: 2}},
		{Kind: kindOpen, App: "changed", Epoch: 4, Term: 5, Time: at(4), ID: checkpoint.ID{4}},
		changed,
		version(3, "1f"),
		{Kind: kindAbort, App: "a", Epoch: 8, Reason: "the store is about to be switched"},
		{Kind: kindStore, Store: &control.Store{Number: 1, URL: "s3://bucket/prefix?region=eu-central-1", Time: at(9)}, Seen: 40},
		open(9, nil),
		deploy("scaled"), scale("scaled"), scaled("it was aborted"), scale("scaled"),
		{Kind: kindOpen, App: "scaled", Epoch: 4, Term: 5, Time: at(4), ID: checkpoint.ID{4}, Scale: true},
		divided, scaled(""),
		deploy("scaling"), scale("scaling"),
		deploy("kept"), keep, kept,
	}
	shadowed := func() *command {
		return &command{Kind: kindShadow, App: "a", Shadow: &control.Shadow{
			Text: "define stream S (v long); from S[v > 1] insert into Out;", Plan: "9f", Drop: true, Version: 1, Checkpoint: 7, Started: at(10),
		}}
	}
	approve := &command{Kind: kindShadow, App: "a", Shadow: &control.Shadow{ID: uint64(len(all)) + 3, Approved: map[string][]shadow.Kind{"Out": {shadow.OnlyOld}}}}
	return append(all, shadowed(), &command{Kind: kindShadow, App: "a"}, shadowed(), approve)
}
