package wal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
)

// A writer refuses a log that has lost what a writer before it has acknowledged: a shorter
// one, and one that has grown again. One that was made again under its name is another log.
func TestWriterRefusesLostEnd(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	js, ends := jetStream(t, nc), t.TempDir()
	write := func(texts ...string) error {
		folder, err := witness.Open(ends)
		if err != nil {
			t.Fatal(err)
		}
		defer folder.Close()
		w := newWriter(t, WriterConfig{Conn: nc, Witness: folder})
		ended := make(chan error, 1)
		go func() { ended <- w.Run(within(t)) }()
		var failed error
		for _, text := range texts {
			f, err := w.AppendFuture(all(alerts(text), 1))
			if err == nil {
				_, err = f.Wait(within(t))
			}
			failed = errors.Join(failed, err)
		}
		if err := w.Close(within(t)); err != nil {
			t.Error(err)
		}
		return errors.Join(failed, <-ended)
	}
	ensureWAL(t, nc, natsconn.StreamLimits{})
	if err := write("a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	stream := natsconn.WALStream("Test", 3)
	for name := range js.StreamNames(within(t)).Name() {
		stream = name
	}
	info, err := js.Stream(within(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	made := info.CachedInfo().Created
	set := func(e witness.End) {
		folder, err := witness.Open(ends)
		if err == nil {
			err = errors.Join(folder.Set(stream, e), folder.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(witness.End{Created: made, Seq: 9, CRC: 1})
	var lost *LostTailError
	if err := write("d"); !errors.As(err, &lost) || lost.Last != 3 || lost.Wanted != 9 {
		t.Errorf("shorter: %v", err)
	}
	set(witness.End{Created: made, Seq: 2, CRC: 1})
	var other *RewrittenError
	if err := write("d"); !errors.As(err, &other) || other.Seq != 2 {
		t.Errorf("another frame: %v", err)
	}
	if l := readLog(t, nc); len(l.texts) != 3 {
		t.Errorf("the log has %d rows, want the 3 before", len(l.texts))
	}
	if err := js.DeleteStream(within(t), stream); err != nil {
		t.Fatal(err)
	}
	ensureWAL(t, nc, natsconn.StreamLimits{})
	if err := write("a"); err != nil {
		t.Errorf("made again: %v", err)
	}
}

// A live writer stops when the log has lost its end, because sequences would be used again. A
// log that was made again is a different log.
func TestWriterNoticesSequencesUsedAgain(t *testing.T) {
	n := startNode(t, natsconn.Fast)
	nc := n.connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	folder, err := witness.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	w := newWriter(t, WriterConfig{Conn: nc, Witness: folder})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(within(t)) }()
	append := func() error {
		f, err := w.AppendFuture(all(alerts("x"), 1))
		if err == nil {
			_, err = f.Wait(within(t))
		}
		return err
	}
	js := jetStream(t, nc)
	for range 2 {
		if err := append(); err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(within(t), w.stream); err != nil {
			t.Fatal(err)
		}
		n.awaitRemoved()
		ensureWAL(t, nc, natsconn.StreamLimits{})
	}
	if err := append(); err != nil {
		t.Fatal(err)
	}
	n.stop()
	older := t.TempDir()
	if err := os.CopyFS(older, os.DirFS(n.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	n.start()
	for range 2 {
		if err := append(); err != nil {
			t.Fatal(err)
		}
	}
	n.stop()
	n.cfg.Dir = older
	n.start()
	var lost *LostTailError
	if err := append(); !errors.Is(err, ErrUnknown) || !errors.As(err, &lost) {
		t.Errorf("append: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.As(err, &lost) {
			t.Errorf("run: %v", err)
		}
	case <-within(t).Done():
		t.Fatal("the writer goes on")
	}
}

// awaitRemoved waits until the server has removed the files of deleted streams. It does that after
// its answer, and a stream of the same name that is made before takes over messages of the old one.
func (n *node) awaitRemoved() {
	n.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx := within(n.t); ctx.Err() == nil; <-tick.C {
		left, err := filepath.Glob(filepath.Join(n.cfg.Dir, "jetstream", "$G", "streams", ".*"))
		if err != nil {
			n.t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
	}
	n.t.Fatal("the server keeps files of a deleted stream")
}

// A writer that starts while another one of the process appends takes what that has
// acknowledged in between for no loss.
func TestWriterStartsBesideAnother(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	folder, err := witness.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	busy := newWriter(t, WriterConfig{Conn: nc, Witness: folder})
	ended, appended, stop := make(chan error, 1), make(chan error, 1), make(chan struct{})
	go func() { ended <- busy.Run(within(t)) }()
	go func() {
		for {
			select {
			case <-stop:
				appended <- nil
				return
			default:
			}
			f, err := busy.AppendFuture(all(alerts("x"), 1))
			if err == nil {
				_, err = f.Wait(within(t))
			}
			if err != nil {
				appended <- err
				return
			}
		}
	}()
	for range 200 {
		w := newWriter(t, WriterConfig{Conn: nc, Witness: folder})
		if err := w.openWitness(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	err = <-appended // it must not append any more when the writer closes
	if err := errors.Join(err, busy.Close(within(t)), <-ended); err != nil {
		t.Error(err)
	}
}
