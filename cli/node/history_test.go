package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// refusedStart opens the node and returns the reason for its refusal.
func refusedStart(t *testing.T, cfg *config.Config, services []string, apps ...string) string {
	t.Helper()
	c := &chain{t: t}
	n, err := Open(c.within(), cfg, services, apps, "1.0.0", slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("it started a new group", n.Close())
	}
	return err.Error()
}

func says(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q: %s", w, text)
		}
	}
}

// A single process with an empty or missing Raft database does not start a new group if there are
// streams of apps. It continues once the folder is restored. Without the folder, the steps in the
// error message lead to the state of the newest checkpoint.
func TestLostRaftOfOneProcess(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 120, 120)
	c := newChain(t, windowApp)
	c.cfg.WAL.Durability = config.Default().WAL.Durability
	c.start()
	c.publishAll(0, 60)
	c.trigger("w")
	c.publishAll(60, 80)
	c.kill()
	raft, aside := filepath.Join(c.cfg.Data, "raft"), filepath.Join(t.TempDir(), "raft")
	if err := os.Rename(raft, aside); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first attempt leaves an empty database
		says(t, refusedStart(t, c.cfg, Services, c.apps...), raft, "app w (", "EFW_w_0", "EFO_w_0", "EFD_w",
			"EF_CLUSTER", "the store has its checkpoint 1", "move the folders raft, nats and witness", "eventflux run", "eventflux recover APP --adopt")
	}
	if err := os.Truncate(filepath.Join(raft, "log.db"), 0); err != nil {
		t.Fatal(err)
	}
	says(t, refusedStart(t, c.cfg, Services, c.apps...), "app w (")
	if err := os.RemoveAll(raft); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, raft); err != nil {
		t.Fatal(err)
	}
	c.start()
	if got := c.rows("w", 80); !slices.Equal(got, want[:80]) {
		t.Errorf("results with the folder back\n%q, want\n%q", got, want[:80])
	}
	second := c.trigger("w")
	c.publishAll(80, 90)
	c.kill()

	// Follow the steps of the message. The test does the first step one folder at a time:
	// until it is complete, a start is refused.
	moved := t.TempDir()
	for _, folder := range []string{"raft", natsFolder, witnessFolder} {
		if err := os.Rename(filepath.Join(c.cfg.Data, folder), filepath.Join(moved, folder)); err != nil {
			t.Fatal(err)
		}
		if folder == "raft" {
			says(t, refusedStart(t, c.cfg, Services, c.apps...), "app w (")
			if err := os.RemoveAll(raft); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.start()
	c.trigger("w")
	done, err := c.node.control.Adopt(c.within(), control.AdoptRequest{App: "w"})
	if err != nil || done.Adopted != second {
		t.Fatalf("%+v, %v; want checkpoint %d", done, err, second)
	}
	c.publishAll(80, 110)
	c.kill()
	c.start()
	c.publishAll(110, 120)
	if got := c.rows("w", 40); !slices.Equal(got, want[80:]) {
		t.Errorf("results\n%q, want\n%q", got, want[80:])
	}
	c.end()
}

// Neither does the first checkpointer of a cluster. After the steps in its message it starts a new
// group.
func TestLostRaftOfACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := c.start("one", "checkpointer", "ingest", "processor")
	c.deploy(windowApp)
	if o, err := c.ctl.Trigger(c.within(), control.AppRequest{App: "w"}); err != nil || !o.Committed {
		t.Fatalf("%+v, %v", o, err)
	}
	c.end(m)
	cfg := config.Default()
	cfg.Data, cfg.NATS.URL, cfg.WAL.Durability = t.TempDir(), c.srv.URL(), "fast"
	cfg.Store.URL = "file:" + c.dir
	says(t, refusedStart(t, cfg, []string{"checkpointer"}), "app w (", "EFW_w_0", "the store has its checkpoint",
		"start those first", "remove the streams", "eventflux app deploy", "eventflux recover APP --adopt")

	// The bucket alone is also evidence that there were apps.
	for _, name := range natsconn.AppStreams("w", 1) {
		if err := c.js.DeleteStream(c.within(), name); err != nil {
			t.Fatal(err)
		}
	}
	says(t, refusedStart(t, cfg, []string{"checkpointer"}), "app w (bucket EF_CLUSTER;")
	if err := c.js.DeleteKeyValue(c.within(), natsconn.ClusterBucket); err != nil {
		t.Fatal(err)
	}
	c.start("one", "checkpointer", "ingest", "processor")
	c.deploy(windowApp)
	if o, err := c.ctl.Trigger(c.within(), control.AppRequest{App: "w"}); err != nil || !o.Committed {
		t.Fatalf("%+v, %v", o, err)
	}
	if done, err := c.ctl.Adopt(c.within(), control.AdoptRequest{App: "w"}); err != nil || done.Generation < 2 {
		t.Errorf("%+v, %v", done, err)
	}
}

// A member that lost its folder does not start its own group while the others hold an election: it
// waits for them and joins.
func TestMemberWithoutStateJoins(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := c.start("one", "checkpointer")
	c.deploy(windowApp)
	n := &Node{cfg: config.Default(), log: slog.New(slog.DiscardHandler), self: &control.Self{Version: "1.0.0"}}
	n.cfg.NATS.URL, n.cfg.Raft.Peers = c.srv.URL(), "a=127.0.0.1:1,b=127.0.0.1:2"
	n.control = &control.Client{Conn: c.nc, Self: n.self}
	if join, err := n.foundGroup(c.within(), "raft"); err != nil || !join {
		t.Errorf("join %v, %v", join, err)
	}
	c.end(m)
}

// A new group starts on a NATS that only has streams of other products, and the bucket of a group
// without apps.
func TestNewGroupBesideOtherStreams(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if _, err := c.nc.Request("$JS.API.STREAM.CREATE.EFW_notes", []byte(`{"name":"EFW_notes","subjects":["notes"],"storage":"memory"}`), time.Minute); err != nil {
		t.Fatal(err)
	}
	c.end(c.start("one", "checkpointer")) // this creates the bucket
	c.start("one", "checkpointer")
	c.deploy(windowApp)
}
