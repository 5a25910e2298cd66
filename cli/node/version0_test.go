package node

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// version0App is the app in the data folders of eventflux run, version 0.9.0. It got the values 1,
// 2 and 3, made checkpoint 1, and got 4. The process of stopped.tgz was stopped with SIGINT, and
// made checkpoint 2; the process of killed.tgz was killed.
const version0App = `@app:name('sums')
define stream S (k string, v long);
from S#window.length(3) select k, sum(v) as total group by k insert into Out;
`

// unpack returns a copy of a folder of version 0.
func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "version0", name+".tgz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o750)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, data, 0o640))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func version0Config(dir string) *config.Config {
	cfg := config.Default()
	cfg.Data, cfg.Listen = dir, "127.0.0.1:0"
	return cfg
}

// An app of version 0 continues from its last checkpoint. Earlier events are not replayed, and
// a restore that needs them is refused.
func TestTakeOverFromVersion0(t *testing.T) {
	t.Parallel()
	c := &chain{t: t, cfg: version0Config(unpack(t, "stopped")), apps: []string{version0App}}
	for round := range 2 { // the second start finds data that is already taken over
		c.start()
		if _, err := c.js.Publish(c.within(), "events.S", []byte(`{"k":"a","v":10}`)); err != nil {
			t.Fatal(err)
		}
		rows := c.rows("sums", 5+round)
		if want := []string{`"total":17}`, `"total":24}`}[round]; !strings.Contains(rows[len(rows)-1], want) {
			t.Errorf("round %d: %q, want %s in the last", round, rows, want)
		}
		newest := c.trigger("sums")
		if got := c.verifyFull("sums", uint64(newest)); !got.Sound || !got.Proved {
			t.Errorf("the checkpoint after the takeover: %+v", got)
		}
		plan := &recovery.Plan{}
		err := c.ask(recovery.VerbPlan, recovery.PlanRequest{App: "sums", Target: recovery.Target{To: 1}}, plan)
		if err != nil || !strings.Contains(plan.Refused, "version 0.x") {
			t.Errorf("a restore to checkpoint 1: refused %q, %v", plan.Refused, err)
		}
		apps, err := (&control.Client{Conn: c.nc}).Apps(c.within())
		if err != nil || len(apps.Apps) != 1 || apps.Apps[0].Level != 1 || !slices.Equal(apps.Apps[0].After, []uint64{4}) {
			t.Errorf("%+v, %v", apps, err)
		}
		c.end()
	}
}

// Data of version 0 is refused, and left unchanged, if no checkpoint covers it to the end or if the
// checkpoint is damaged. Version 0 can then be started on it again.
func TestVersion0ThatIsNotCovered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		folder string
		spoil  func(dir string)
		want   string
	}{
		"killed": {"killed", func(string) {}, "the newest checkpoint of app sums, 1, covers the log of partition 0 to 3, and that ends at 4"},
		"damaged": {"stopped", func(dir string) {
			flip(t, filepath.Join(dir, "checkpoints", "apps", "sums", "checkpoints", "00000000000000000002.json"))
		}, "the newest checkpoint of app sums, 2, is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, c.folder)
			c.spoil(dir)
			for range 2 {
				ctx := (&chain{t: t}).within()
				n, err := Open(ctx, version0Config(dir), Services, []string{version0App}, "1.0.0", slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				err = n.Run(ctx, func([]*siddhiql.Plan) { t.Error("it is ready") })
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "start the version 0.x that ran here once more") {
					t.Errorf("%v", err)
				}
				frames(t, n)
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// frames fails the test if the log has a frame that version 0 does not know.
func frames(t *testing.T, n *Node) {
	t.Helper()
	nc, err := nats.Connect(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := (&chain{t: t}).within()
	s, err := js.Stream(ctx, "EFW_sums_0")
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		if m, err := s.GetMsg(ctx, seq); err != nil || m.Data[4] != 1 {
			t.Errorf("sequence %d: %v", seq, err)
		}
	}
}
