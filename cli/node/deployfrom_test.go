package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

// A deploy from a checkpoint that is interrupted leaves an app that accepts no events, also after
// the process was killed. Once it has the state, its results continue those of the checkpoint.
func TestInterruptedDeployFromACheckpoint(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 100, 100)
	c := newChain(t, windowApp)
	c.cfg.Store.URL = "file:" + filepath.Join(t.TempDir(), "checkpoints")
	c.start()
	c.publishAll(0, 80)
	epoch := c.trigger("w")
	c.kill()
	if err := os.RemoveAll(c.cfg.Data); err != nil {
		t.Fatal(err)
	}
	c.apps = nil
	c.start()
	if _, err := c.node.control.Deploy(c.within(), control.DeployRequest{Text: windowApp, From: epoch + 1}); control.Code(err) != control.CodeNotFound {
		t.Errorf("a checkpoint that does not exist: %v", err)
	}
	if _, err := c.node.control.Deploy(c.within(), control.DeployRequest{Text: strings.Replace(windowApp, "sum(v)", "max(v)", 1), From: epoch}); control.Code(err) != control.CodeInvalid {
		t.Errorf("a checkpoint of another text: %v", err)
	}
	d, err := c.node.control.Deploy(c.within(), control.DeployRequest{Text: windowApp, From: epoch})
	if err != nil || !d.Starting() {
		t.Fatalf("%+v, %v", d, err)
	}
	c.kill()
	c.start()
	if _, err := c.js.Publish(c.within(), "events.S", []byte(`{"k":"x","v":1}`)); err == nil {
		t.Error("an event was accepted before the app had its state")
	}
	c.trigger("w")
	adopt := control.AdoptRequest{App: "w", ID: "once", Epoch: epoch}
	first, err := c.node.control.Adopt(c.within(), adopt)
	if err != nil || first.Adopted != epoch {
		t.Fatalf("%+v, %v", first, err)
	}
	c.kill() // before the answer came
	c.start()
	if again, err := c.node.control.Adopt(c.within(), adopt); err != nil || again != first {
		t.Errorf("repeated: %+v, %v; want %+v", again, err, first)
	}
	a, err := c.node.control.App(c.within(), control.AppRequest{App: "w"})
	if err == nil {
		err = c.node.control.AwaitServed(c.within(), &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.publishAll(80, 100)
	if got := c.rows("w", 20); !slices.Equal(got, want[80:]) {
		t.Errorf("results\n%q, want\n%q", got, want[80:])
	}
	c.end()
}
