package state_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/eventflux/eventflux/shared/state"
)

// show tells changes in a form that a person reads.
func show(changes []state.Change) string {
	text := ""
	for _, c := range changes {
		if c.Deleted {
			text += fmt.Sprintf("-%s ", c.Key)
		} else {
			text += fmt.Sprintf("%s=%s ", c.Key, c.Value)
		}
	}
	return text
}

func checkDelta(t *testing.T, h state.Holder, since state.Epoch, want string) {
	t.Helper()
	delta, err := h.Delta(since)
	if err != nil {
		t.Fatal(err)
	}
	if got := show(delta.Changes()); got != want {
		t.Errorf("delta since %d is %q, want %q", since, got, want)
	}
}

// However many epochs are aborted, the next delta has all of them, each key once.
func TestAbortedEpochsLoseNothing(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	b.put("a", "1")
	b.put("b", "1")
	b.put("c", "1")
	c.Cut(1)
	checkDelta(t, c, 0, "a=1 b=1 c=1 ")
	c.Committed(1)

	b.put("a", "2")
	c.Cut(2) // aborted
	b.drop("b")
	b.put("a", "3")
	c.Cut(3) // aborted
	b.put("d", "4")
	c.Cut(5) // aborted; 4 was burnt elsewhere
	b.put("e", "6")
	b.drop("d")
	c.Cut(6)
	b.put("later", "7")
	checkDelta(t, c, 1, "a=3 -b -d e=6 ")
	c.Committed(6)
	checkDelta(t, c, 6, "")
	c.Cut(7)
	checkDelta(t, c, 6, "later=7 ")
}

// The decision about an epoch can come after the next one was cut.
func TestLateCommit(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	b.put("a", "1")
	c.Cut(1)
	b.put("b", "2")
	c.Cut(2)
	checkDelta(t, c, 1, "b=2 ")
	c.Committed(1)
	checkDelta(t, c, 1, "b=2 ")
	c.Committed(2)
	c.Committed(1) // said twice
	checkDelta(t, c, 2, "")
	if _, err := c.Delta(1); !errors.Is(err, state.ErrPruned) {
		t.Errorf("delta since a pruned epoch: %v", err)
	}
}

func TestEntryThatCameAndWentIsNoChange(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	b.put("a", "1")
	c.Digest() // looks at it
	b.drop("a")
	b.put("b", "same")
	c.Cut(1)
	checkDelta(t, c, 0, "b=same ")
	c.Committed(1)
	b.put("b", "same")
	c.Cut(2)
	checkDelta(t, c, 1, "")
}

// A capture stays as it was, whatever happens to the component.
func TestCaptureDoesNotFollowTheComponent(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	b.put("a", "1")
	b.put("b", "1")
	c.Cut(1)
	delta, err := c.Delta(0)
	if err != nil {
		t.Fatal(err)
	}
	all := c.Snapshot()
	b.put("a", "2")
	b.drop("b")
	c.Cut(2)
	c.Cut(3)
	c.Committed(3)
	if got := show(delta.Changes()) + "| " + show(all.Changes()); got != "a=1 b=1 | a=1 b=1 " {
		t.Errorf("captured was %q", got)
	}
}

func TestWhatWasThereBefore(t *testing.T) {
	b := newBook()
	b.put("a", "1")
	c := state.NewComponent(bookInfo("1.0.0"), b)
	c.Cut(1)
	checkDelta(t, c, 0, "a=1 ")
}

// A delta after loading is since the epoch that was loaded.
func TestDeltaAfterLoading(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	b.put("of before", "1")
	c.Cut(1)
	if err := c.Load(9, c.Info().Version, 1, state.Hash([]state.Entry{{[]byte("b"), []byte("2")}, {[]byte("a"), []byte("1")}})); err != nil {
		t.Fatal(err)
	}
	b.drop("b")
	c.Cut(10)
	checkDelta(t, c, 9, "-b ")
	if _, err := c.Delta(8); !errors.Is(err, state.ErrPruned) {
		t.Errorf("delta since an epoch before the loaded one: %v", err)
	}
}

func TestRefusedEntriesLeaveNothing(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	empty := c.Digest()
	b.put("a", "1")
	err := c.Load(1, c.Info().Version, 1, state.Hash([]state.Entry{{[]byte("x"), nil}, {[]byte("x"), nil}}))
	var wrong *state.EntryError
	if !errors.As(err, &wrong) || wrong.Component != "query1/book" || string(wrong.Key) != "x" || !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if c.Digest() != empty || len(b.lines) > 0 {
		t.Errorf("left behind: %v", b.entries())
	}
	b.put("a", "2")
	c.Cut(1)
	checkDelta(t, c, 0, "a=2 ")
}

// A source that takes an entry for another one, or for none, is found out by its keys.
func TestOtherKeysThanLoadedAreRefused(t *testing.T) {
	for name, b := range map[string]*book{"another": newBook(), "none": newBook()} {
		t.Run(name, func(t *testing.T) {
			c := state.NewComponent(bookInfo("1.0.0"), forger{b, name == "another"})
			err := c.Load(1, c.Info().Version, 1, state.Hash([]state.Entry{{[]byte("a"), nil}, {[]byte("x"), nil}}))
			if !errors.Is(err, state.ErrCorrupt) || len(b.lines) > 0 {
				t.Errorf("got %v, left behind: %v", err, b.entries())
			}
		})
	}
}

// forger does not put entries as they are.
type forger struct {
	*book
	another bool
}

func (f forger) Put(key, value []byte) error {
	switch {
	case string(key) != "x":
	case f.another:
		key = []byte("y")
	default:
		return nil
	}
	return f.book.Put(key, value)
}

func TestEpochsMustGrow(t *testing.T) {
	c := state.NewComponent(bookInfo("1.0.0"), newBook())
	c.Cut(3)
	defer func() {
		if recover() == nil {
			t.Error("epoch 3 was cut twice")
		}
	}()
	c.Cut(3)
}

// What the component keeps for itself shrinks with what it holds.
func TestBytesFollowTheState(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	for i := range 1000 {
		b.put(fmt.Sprintf("key %4d", i), "a line of some length")
	}
	c.Cut(1)
	full := c.Bytes()
	checkBytes(t, c, 0, full)
	c.Committed(1)
	committed := c.Bytes()
	for i := range 1000 {
		b.drop(fmt.Sprintf("key %4d", i))
	}
	c.Cut(2)
	checkBytes(t, c, 1, c.Bytes())
	c.Committed(2)
	if n := c.Bytes(); full < 1000*(8+21) || committed >= full || n >= committed {
		t.Errorf("%d bytes with the cut, %d committed, %d empty", full, committed, n)
	}
}

// checkBytes reads a delta: what the component keeps of it is known then, and was not
// nothing before.
func checkBytes(t *testing.T, c *state.Component, since state.Epoch, unread int64) {
	t.Helper()
	delta, err := c.Delta(since)
	if err != nil {
		t.Fatal(err)
	}
	if n := int64(len(delta.Changes())); n != 1000 || unread < 8*n {
		t.Errorf("%d changes, which took %d bytes before they were read", n, unread)
	}
}

// Captures are read beside the task, which continues.
func TestCapturesAreReadBesideTheTask(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("1.0.0"), b)
	var readers sync.WaitGroup
	for epoch := state.Epoch(1); epoch <= 20; epoch++ {
		want := ""
		for i := range 50 {
			line := fmt.Sprint(epoch)
			b.put(fmt.Sprintf("key %02d", i), line)
			want += fmt.Sprintf("key %02d=%s ", i, line)
		}
		c.Cut(epoch)
		delta, err := c.Delta(0)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			readers.Go(func() {
				if got := show(delta.Changes()); got != want {
					t.Errorf("epoch %d: got %s, want %s", epoch, got, want)
				}
			})
		}
	}
	readers.Wait()
}
