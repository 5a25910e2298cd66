package node

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

func init() {
	window.Register(window.Spec{
		Name: "forgetful", Version: "1.0.0", Usage: "forgetful(size int)",
		Check: func(p []window.Param) error {
			if len(p) != 1 || !p[0].Constant() {
				return errors.New("expected a size")
			}
			return nil
		},
		New: func(c window.Config) window.Window {
			w := &forgetful{size: int(c.Params[0].Int), queue: window.NewQueue(c, c.Params[0].Int)}
			w.Retained = window.NewRetained(c.Env, &w.queue, func(f *window.Fields) { f.Uint(&w.came) })
			return w
		},
	})
}

// forgetful is a window of a fixed size that counts its rows. It reports its count as state only
// while the count is even, so its deltas are wrong.
type forgetful struct {
	window.Retained
	size  int
	came  uint64
	queue window.Queue
	chunk []window.Row
}

func (w *forgetful) Add(in []window.Row, emit window.Emit) {
	w.queue.Settle()
	for _, r := range in {
		if w.queue.Len() == w.size {
			w.queue.Pop()
		}
		w.queue.Push(r)
		w.came++
	}
	w.chunk = append(w.chunk[:0], in...)
	emit(w.chunk)
}

func (w *forgetful) Changed(visit func(key []byte)) {
	if w.came%2 == 0 {
		w.Retained.Changed(visit)
	}
}

func (w *forgetful) Due() (int64, uint64, bool) { return 0, 0, false }
func (w *forgetful) Fire(window.Emit)           {}
func (w *forgetful) Empty() bool                { return w.came == 0 }

// A component that does not report all its changes makes checkpoints that are consistent in
// themselves. Only a replay finds the error.
func TestVerifyFindsWrongDeltas(t *testing.T) {
	t.Parallel()
	c := newChain(t, `@app:name('w') define stream S (k string, v int);
		from S#forgetful(5) select k, v insert into Out;`)
	c.start()
	defer c.end()
	c.publishAll(0, 4)
	first := c.trigger("w")
	c.publishAll(4, 6)
	honest := c.trigger("w")
	c.publishAll(6, 9)
	wrong := c.trigger("w")
	if got := c.verifyFull("w", uint64(honest)); !got.Proved || got.From != first {
		t.Errorf("%+v", got)
	}
	got := c.verifyFull("w", uint64(wrong))
	if got.Sound || len(got.Problems) != 1 {
		t.Fatalf("%+v", got)
	}
	// Which row is the first that differs depends on when the task asked for changes.
	if p := got.Problems[0]; p.Component != "query1/window" || !strings.HasPrefix(p.Key, "62") || !strings.HasPrefix(p.Item, "row ") || !strings.Contains(p.What, "the replay gives") {
		t.Errorf("%+v", p)
	}
}

// A manifest that was edited by hand, with a corrected digest, is not the one that the checkpointer
// committed. Verify finds any such change.
func TestVerifyFindsEditedManifests(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(of, before *checkpoint.Component){
		"a run dropped":         func(of, _ *checkpoint.Component) { of.Runs = of.Runs[:len(of.Runs)-1] },
		"a chain from before":   func(of, before *checkpoint.Component) { of.Runs = before.Runs },
		"another digest":        func(of, before *checkpoint.Component) { of.Digest = before.Digest },
		"all of it from before": func(of, before *checkpoint.Component) { *of = *before },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, windowApp)
			c.start()
			defer c.end()
			c.publishAll(0, 20)
			first := c.trigger("w")
			c.publishAll(20, 40)
			second := c.trigger("w")
			_, before := c.manifest(first)
			file, m := c.manifest(second)
			for i := range m.Partitions[0].Components {
				if of := &m.Partitions[0].Components[i]; of.ID == "query1/window" {
					edit(of, &before.Partitions[0].Components[i])
				}
			}
			data, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := c.verifyFull("w", uint64(second)); got.Sound || !strings.Contains(got.Problems[0].What, "the checkpointer has") {
				t.Errorf("%+v", got)
			}
		})
	}
}
