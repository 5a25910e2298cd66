package node

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

// The checkpoint of a processor with another store than the checkpointers is aborted, and the
// reason names the setting.
func TestProcessorWithAnotherStore(t *testing.T) {
	t.Parallel()
	other, err := stores.Open(t.Context(), "file:"+t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := newChain(t, windowApp)
	c.adapt = func(n *Node) {
		own := n.store
		t.Cleanup(func() { _ = own.Close() })
		n.store = other // the checkpointer has its own already
		n.skipLast = true
	}
	c.start()
	defer c.end()
	c.publishAll(0, 10)
	o, err := c.node.control.Trigger(c.within(), control.AppRequest{App: "w"})
	if err != nil || o.Committed || !strings.Contains(o.Reason, "it is missing") || !strings.Contains(o.Reason, "store.url") {
		t.Errorf("%+v, %v", o, err)
	}
}
