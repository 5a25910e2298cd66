package node

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	dto "github.com/prometheus/client_model/go"

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

// switchTo makes the cluster of a node use another store.
func (c *chain) switchTo(url string) (s control.Switched, err error) {
	c.t.Helper()
	err = c.node.control.Do(c.within(), control.VerbSwitch, control.SwitchRequest{URL: url}, &s)
	return s, err
}

// A cluster that runs is switched to another store: its next checkpoint is there, with all that
// it keeps, and a start with the former store.url continues there, even if the former store is
// gone. Results do not change.
func TestSwitchOfTheStore(t *testing.T) {
	want := undisturbed(t, 300, 300)
	server := s3test.Start(t)
	c := newChain(t, windowApp)
	c.start()
	defer func() { c.end() }()
	c.publishAll(0, 100)
	first := c.trigger("w")
	for url, says := range map[string]string{
		"s3://x?takeover=ONE":                  "takeover=",
		"redis://u:secret@127.0.0.1:1/0":       "password_file",
		"ftp://x":                              "is none of file:DIR",
		server.URL("x", "timeout=1s") + "&a=b": `unknown parameter "a"`,
		"redis://127.0.0.1:1/0?timeout=50ms":   "cannot open the new one",
	} {
		if _, err := c.switchTo(url); control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("switch to %s: %v, want %q in it", url, err, says)
		}
	}
	url := server.URL("x")
	s, err := c.switchTo(url)
	if err != nil || s.Number != 1 || s.URL != url || len(s.Processes) != 1 || s.Processes[0].Number != 1 || s.Processes[0].Setting != "file:"+filepath.Join(c.cfg.Data, "checkpoints") {
		t.Fatalf("%+v, %v", s, err)
	}
	if again, err := c.switchTo(url); err != nil || again.Number != 1 || again.Time != s.Time {
		t.Errorf("the repeated request: %+v, %v", again, err)
	}
	c.publishAll(100, 200)
	second := c.trigger("w")
	families, err := c.node.seen.metrics.Gather()
	if err != nil || !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "eventflux_store_requests_total" }) {
		t.Errorf("the requests to the new store are not counted: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(c.cfg.Data, "checkpoints")); err != nil {
		t.Fatal(err)
	}
	c.kill()

	c.start()
	if got := c.task("running"); got.Restored != uint64(second) {
		t.Errorf("restored %d, want checkpoint %d", got.Restored, second)
	}
	c.publishAll(200, 300)
	for _, epoch := range []state.Epoch{first, second, c.trigger("w")} {
		var report control.VerifyReport
		if err := c.node.control.Do(c.within(), control.VerbVerify, control.CheckpointRequest{App: "w", Epoch: epoch}, &report); err != nil || !report.Sound {
			t.Errorf("verify %d: %+v, %v", epoch, report, err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.cfg.Data, "checkpoints")); err == nil {
		t.Error("something was written to the former store")
	}
	if got := c.rows("w", 300); !slices.Equal(got, want) {
		t.Error("other results than without a switch")
	}
}

// A store that another cluster has claimed, or that one process cannot reach, is refused, and
// the cluster keeps the former one.
func TestSwitchIsRefused(t *testing.T) {
	server := s3test.Start(t)
	other := newChain(t, windowApp)
	other.cfg.Store.URL = server.URL("taken")
	other.start()
	defer other.end()
	other.publishAll(0, 10)
	other.trigger("w")

	c := newChain(t, windowApp)
	c.start()
	defer c.end()
	c.publishAll(0, 10)
	first := c.trigger("w")
	if _, err := c.switchTo(server.URL("taken")); err == nil || !strings.Contains(err.Error(), "belongs to another cluster") {
		t.Errorf("switch to the store of another cluster: %v", err)
	}
	deaf, err := c.node.connectOwn(c.within(), "a process that cannot reach the store")
	if err != nil {
		t.Fatal(err)
	}
	report := control.StoreReport{Services: []string{"merger on moon"}, Error: "no route to host"}
	data, _ := json.Marshal(report)
	if _, err := micro.AddService(deaf, micro.Config{Name: "eventflux-merger", Version: "1.0.0", Metadata: map[string]string{"host": "moon"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.Subscribe(control.StoreSubject(), func(m *nats.Msg) { _ = m.Respond(data) }); err != nil {
		t.Fatal(err)
	}
	if err := deaf.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.switchTo(server.URL("free")); err == nil || !strings.Contains(err.Error(), "merger on moon: no route to host") {
		t.Errorf("switch with a process that cannot reach the store: %v", err)
	}
	if second := c.trigger("w"); second != first+1 {
		t.Errorf("checkpoint %d after %d", second, first)
	}
	if _, m := c.manifest(first + 1); m == nil {
		t.Error("the former store does not have the next checkpoint")
	}
}
