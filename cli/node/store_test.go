package node

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/stores"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// An app whose checkpoints were copied while it ran, and once more after it stopped, continues
// in the other store: with the same results, and with every checkpoint that it keeps.
func TestRestartInAnotherStore(t *testing.T) {
	want := undisturbed(t, 300, 300)
	server := s3test.Start(t)
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 100)
	first := c.trigger("w")
	open := func(url string) store.Store {
		s, err := stores.Open(c.within(), url, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() }) // nothing is written by it any more
		return s
	}
	copier := checkpoint.Copier{From: open("file:" + filepath.Join(c.cfg.Data, "checkpoints")), To: open(server.URL("x")), App: "w", Workers: 2}
	copyUpTo := func(newest uint64) {
		t.Helper()
		if done, err := copier.Copy(c.within()); err != nil || uint64(done.Newest) != newest || done.Checkpoints == 0 {
			t.Fatalf("%+v, %v; want checkpoint %d", done, err, newest)
		}
	}
	copyUpTo(uint64(first))
	c.publishAll(100, 200)
	second := c.trigger("w")
	c.publishAll(200, 250)
	c.kill()
	copyUpTo(uint64(second))

	c.cfg.Store.URL = server.URL("x")
	c.start()
	if got := c.task("running"); got.Restored != uint64(second) || got.Events > 50 {
		t.Errorf("restored %d and applied %d events; want checkpoint %d and the 50 events after it", got.Restored, got.Events, second)
	}
	c.publishAll(250, 300)
	third := c.trigger("w")
	for _, epoch := range []uint64{uint64(first), uint64(second), uint64(third)} {
		var report control.VerifyReport
		if err := c.node.control.Do(c.within(), control.VerbVerify, control.CheckpointRequest{App: "w", Epoch: state.Epoch(epoch)}, &report); err != nil || !report.Sound {
			t.Errorf("verify %d: %+v, %v", epoch, report, err)
		}
	}
	if got := c.rows("w", 300); !slices.Equal(got, want) {
		t.Error("other results than without a restart")
	}
	c.end()
}
