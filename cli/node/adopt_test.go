package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

// A cluster that lost its logs recovers from the store alone: the app gets the state of the newest
// sound checkpoint, and processes the events that are published again.
func TestAdoptFromTheStoreAlone(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 120, 120)
	c := newChain(t, windowApp)
	c.cfg.Store.URL = "file:" + filepath.Join(t.TempDir(), "checkpoints")
	c.start()
	c.publishAll(0, 60)
	c.trigger("w")
	c.publishAll(60, 80)
	second := c.trigger("w")
	c.publishAll(80, 90)
	// Each start is a new leadership that the new group does not know about.
	for range 3 {
		c.kill()
		c.start()
	}
	c.kill()
	// NATS and Raft are lost.
	if err := os.RemoveAll(c.cfg.Data); err != nil {
		t.Fatal(err)
	}
	c.start()
	if _, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w", Epoch: 99}); control.Code(err) != control.CodeNotFound {
		t.Errorf("an epoch that is not there: %v", err)
	}
	c.trigger("w")
	done, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w"})
	if err != nil || done.Adopted != second || done.Generation != 3 || done.Epoch <= second {
		t.Fatalf("%+v, %v; want checkpoint %d in generation 3", done, err, second)
	}
	c.runs(3) // until then, a task of generation 2 would publish its own results
	c.publishAll(80, 110)
	c.kill() // that generation is as durable as any other
	c.start()
	c.publishAll(110, 120)
	if got := c.rows("w", 40); !slices.Equal(got, want[80:]) {
		t.Errorf("results\n%q, want\n%q", got, want[80:])
	}
	c.end()
}

// If the newest checkpoint of the former cluster is damaged, adoption uses the previous one.
func TestAdoptPassesOverDamage(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.cfg.Store.URL = "file:" + filepath.Join(t.TempDir(), "checkpoints")
	c.start()
	c.publishAll(0, 60)
	first := c.trigger("w")
	c.publishAll(60, 80)
	second := c.trigger("w")
	c.kill()
	c.flipRun(second, "query1/window")
	if err := os.RemoveAll(c.cfg.Data); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.trigger("w")
	done, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w"})
	if err != nil || done.Adopted != first {
		t.Errorf("%+v, %v; want checkpoint %d", done, err, first)
	}
	c.end()
}

// Adoption does not silently use an older checkpoint if a later version wrote the newest one:
// the operator has to ask for the older one.
func TestAdoptRefusesLaterVersions(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.cfg.Store.URL = "file:" + filepath.Join(t.TempDir(), "checkpoints")
	c.start()
	c.publishAll(0, 60)
	first := c.trigger("w")
	c.publishAll(60, 80)
	second := c.trigger("w")
	c.kill()
	if err := os.RemoveAll(c.cfg.Data); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.trigger("w")
	file, m := c.manifest(second)
	if m.Format != 4 {
		t.Fatalf("the manifest has format %d", m.Format)
	}
	if err := os.WriteFile(file, []byte(`{"format":5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w"})
	if control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), "format 5, known is 4") || !strings.Contains(err.Error(), "--adopt --to EPOCH") {
		t.Errorf("the newest one is of a later version: %v", err)
	}
	done, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w", Epoch: first})
	if err != nil || done.Adopted != first {
		t.Errorf("the one before, asked for: %+v, %v", done, err)
	}
	c.end()
}

// State of a query that an upgrade renamed keeps its former name. A new cluster that does not know
// that name refuses it, so that no state is left behind unseen.
func TestAdoptRefusesStateOfARenamedQuery(t *testing.T) {
	t.Parallel()
	c := newChain(t, firstVersion)
	c.cfg.Store.URL = "file:" + filepath.Join(t.TempDir(), "checkpoints")
	c.start()
	renamed := strings.Replace(firstVersion, "@info(name='win')", "@info(name='sums', was='win')", 1)
	c.upgrade(control.UpgradeRequest{Text: renamed})
	c.publishAll(0, 10)
	c.trigger("w")
	c.kill()
	if err := os.RemoveAll(c.cfg.Data); err != nil {
		t.Fatal(err)
	}
	c.apps = []string{renamed}
	c.start()
	defer c.end()
	c.trigger("w")
	_, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w"})
	if control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), "win/") {
		t.Errorf("state under a former name: %v", err)
	}
}
