package checkpointer

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// The store is switched only while no checkpoint is in progress, and only if nothing has
// changed since the checkpoints were copied. Of two switches with one number, the first counts.
func TestSwitchInRaft(t *testing.T) {
	const open, done, no = true, true, true
	for name, c := range map[string]struct {
		open, committed bool
		seen            uint64
		had             *control.Store
		next            control.Store
		refused         bool
	}{
		"nothing has changed":       {!open, done, 4, nil, control.Store{Number: 1, URL: "file:b"}, !no},
		"no checkpoint yet":         {!open, !done, 1, nil, control.Store{Number: 1, URL: "file:b"}, !no},
		"a checkpoint since":        {!open, done, 3, nil, control.Store{Number: 1, URL: "file:b"}, no},
		"an app since":              {!open, !done, 0, nil, control.Store{Number: 1, URL: "file:b"}, no},
		"a checkpoint in progress":  {open, done, 4, nil, control.Store{Number: 1, URL: "file:b"}, no},
		"repeated":                  {open, done, 0, &control.Store{Number: 1, URL: "file:b"}, control.Store{Number: 1, URL: "file:b"}, !no},
		"another one was first":     {!open, done, 4, &control.Store{Number: 1, URL: "file:c"}, control.Store{Number: 1, URL: "file:b"}, no},
		"the next one":              {!open, done, 4, &control.Store{Number: 1, URL: "file:c"}, control.Store{Number: 2, URL: "file:b"}, !no},
		"an old one comes too late": {!open, done, 4, &control.Store{Number: 3, URL: "file:c"}, control.Store{Number: 2, URL: "file:b"}, no},
	} {
		t.Run(name, func(t *testing.T) {
			f, index := newFSM(t), uint64(0)
			var used []control.Store
			f.OnStore(func(s control.Store) { used = append(used, s) })
			apply := func(c *command) any {
				index++
				c.Version = thisVersion
				data, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				return f.Apply(&raft.Log{Index: index, Data: data})
			}
			apply(&command{Kind: kindDeploy, App: "a", Deploy: &control.App{Name: "a", Partitions: 1}})
			opening := func(epoch state.Epoch) {
				apply(&command{Kind: kindOpen, App: "a", Epoch: epoch, Term: 1, ID: checkpoint.ID{byte(epoch)}})
			}
			if c.committed {
				opening(1)
				apply(&command{Kind: kindPlace, App: "a", Processor: "p"})
				apply(&command{Kind: kindCommit, App: "a", Commit: &committed{CheckpointRef: control.CheckpointRef{Epoch: 1, Generation: f.app("a").Generation}}})
			}
			f.data.Store = c.had
			if c.open {
				opening(2)
			}
			answer := refused(apply(&command{Kind: kindStore, Store: &c.next, Seen: c.seen}))
			if (answer != "") != c.refused {
				t.Fatalf("answered %q", answer)
			}
			want := &c.next
			if c.refused {
				want = c.had
			}
			if got := f.store(); (got == nil) != (want == nil) || got != nil && *got != *want {
				t.Errorf("the store is %+v, want %+v", got, want)
			}
			if (len(used) == 0) != c.refused {
				t.Errorf("used %v", used)
			}
			taken, err := f.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			again := newFSM(t)
			again.OnStore(func(s control.Store) { used = []control.Store{s} })
			if err := again.Restore(io.NopCloser(bytes.NewReader(taken.(snapshot)))); err != nil {
				t.Fatal(err)
			}
			if want != nil && (len(used) != 1 || used[0] != *want) {
				t.Errorf("after a snapshot, %v is used, want %+v", used, want)
			}
		})
	}
}
