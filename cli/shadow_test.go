package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state"
)

const divided = `@app:name('sums') @app:partitions('2') define stream S (k string, v int);
	partition with (k of S) begin
	@info(name='sums') from S[v > 3]#length(4) select k, sum(v) as total, v insert into Out; end;`

// A shadow compares what the deployed app and its next version make of the log, publishes
// nothing, and leaves the deployed app as it is.
func TestShadowOfADeployedApp(t *testing.T) {
	s := startNode(t, divided)
	s.publish(0, 8)
	s.cli(0, "checkpoint trigger sums")
	s.publish(8, 14)
	write := func(from, to string) string { t.Helper(); return nextOf(t, from, to) }
	file := write("", "")
	s.prints(0, "app shadow "+write("", ""), "kept  sums/window", "Out     6      0          0         0", "6 events", "following, from checkpoint 1, 0 frames behind")
	s.prints(0, "app shadow "+file+" --from 1 --json", `"equal": 6,`, `"behind": 0,`, `"outcome": "kept"`)
	s.prints(1, "app shadow "+write("v > 3", "v > 3 and v != 13"), "Out     5      0          1         0", "Out only old, seq:", `"v":13}`, "the results of the two versions differ")
	s.prints(1, "app shadow "+write("length(4)", "time(1 sec)"), "refused  sums/window", "--drop gives the state")
	s.prints(1, "app shadow "+write("'sums'", "'other'"), "other")
	s.prints(1, "app shadow "+write("k of S", "nobody of S"), "nobody")
	s.prints(2, "app shadow "+write("", "")+" --from x", "is neither the epoch of a checkpoint nor a time")
	s.prints(1, "app shadow "+file+" --from 9", "checkpoint ls sums")
	s.prints(2, "app shadow "+file+" --every 0s", "--every 0s")
	s.prints(0, "app history sums", "current")
	if text := s.cli(0, "app history sums"); strings.Count(text, "\n") != 2 {
		t.Errorf("the app was changed:\n%s", text)
	}
}

// nextOf writes a next version of the app and returns the name of its file.
func nextOf(t *testing.T, from, to string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "next.siddhi")
	if err := os.WriteFile(file, []byte(strings.Replace(divided, from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A shadow goes on with the log, also after its process was started again. What it finds must be
// approved, kind by kind, before the upgrade that asks for that.
func TestShadowIsApproved(t *testing.T) {
	s := startNode(t, divided)
	s.publish(0, 8)
	s.cli(0, "checkpoint trigger sums")
	file := nextOf(t, "v > 3", "v > 3 and v % 5 != 0")
	s.prints(1, "app upgrade "+file+" --shadowed --yes", "app sums has no shadow", "app shadow FILE")
	s.prints(0, "app shadow "+file, "starts from checkpoint 1, and compares with version 1", "following, from checkpoint 1, 0 frames behind")
	s.publish(8, 30)
	// 10, 15, 20 and 25 are gone, so sums after them differ.
	s.prints(1, "app shadow "+file, "Out     8      10         4         0", "not approved in Out: different in total, only old", "22 events")
	export := filepath.Join(t.TempDir(), "sums.efx")
	s.cli(0, "checkpoint export sums 1 -o "+export)
	var live, offline shadow.Report
	compared, _, _ := run("replay --from "+export+" --app "+file+" --compare --json", "")
	if err := errors.Join(json.Unmarshal([]byte(s.stdout("app shadow report sums --json")), &live), json.Unmarshal([]byte(compared), &offline)); err != nil {
		t.Fatal(err)
	}
	for i := range live.Streams {
		live.Streams[i].Samples, offline.Streams[i].Samples = nil, nil // of each partition, and of all
	}
	if !reflect.DeepEqual(live, offline) || live.Events != 22 {
		t.Errorf("the shadow finds\n%+v\nand a comparison of the exported log\n%+v", live, offline)
	}
	s.prints(1, "app upgrade "+file+" --shadowed --yes", "were not approved: Out (different in total, only old)", "app shadow approve sums STREAM")
	s.prints(1, "app shadow approve sums Nowhere", "no result stream", "it has Out")
	s.prints(0, "app shadow approve sums Out", "approved in Out: different in total, only old")
	s.prints(1, "app shadow report sums", "approved in Out: different in total, only old")
	if text := s.stdout("app shadow report sums"); strings.Contains(text, "not approved") {
		t.Error(text)
	}
	s.prints(1, "app shadow approve sums Out", "nothing differs in Out that was not approved before")
	s.prints(1, "app shadow report sums", "approved in Out: different in total, only old", "Out     8      10         4         0")
	s.prints(1, "app upgrade "+nextOf(t, "v > 3", "v > 4")+" --shadowed --yes", "runs another text")

	s.restart()
	s.prints(1, "app shadow "+file, "Out     8      10         4         0", "approved in Out: different in total, only old", "22 events")
	if n := s.results(s.within(), 0) + s.results(s.within(), 1); n > 26 {
		t.Errorf("%d results of 26 events that pass the filter: the shadow publishes", n)
	}
	s.prints(0, "app upgrade "+file+" --shadowed --yes", "app sums runs version 2")
	s.prints(1, "app shadow report sums", "app sums has no shadow", "changed, scaled or restored")
}

// stdout returns what a command prints, whatever its exit code.
func (s *liveNode) stdout(line string) string {
	stdout, _, _ := run(line+" --server "+s.url, "")
	return stdout
}

// A shadow keeps its checkpoint, and the log after it, until it ends.
func TestShadowKeepsItsCheckpoint(t *testing.T) {
	s := startNodeOf(t, node.Services, divided, func(cfg *config.Config) { cfg.Retention.Checkpoints, cfg.Retention.Span = 2, 0 })
	next := nextOf(t, "v > 3", "v > 10")
	s.prints(1, "app shadow "+next, "has none yet", "checkpoint trigger sums")
	s.publish(0, 8)
	s.cli(0, "checkpoint trigger sums")
	s.prints(1, "app shadow "+next+" --from 2001-01-01T00:00:00Z", "none at or before 2001-01-01T00:00:00Z")
	s.prints(0, "app shadow "+next+" --from "+time.Now().UTC().Add(time.Hour).Format(time.RFC3339), "checkpoint 1,")
	for i := range 4 {
		s.publish(8+i, 9+i)
		s.cli(0, "checkpoint trigger sums")
	}
	s.prints(0, "checkpoint show sums 1", "checkpoint 1 of app sums")
	s.awaitRetired("sums", 2)
	s.prints(1, "app shadow "+next, "Out     ", "only old")
	s.prints(0, "app shadow stop sums", "the shadow of app sums has ended")
	s.prints(1, "app shadow stop sums", "app sums has no shadow")
	s.publish(90, 91)
	s.cli(0, "checkpoint trigger sums")
	s.awaitRetired("sums", 1)
}

// awaitRetired waits until a checkpoint is not listed any more.
func (s *liveNode) awaitRetired(app string, epoch state.Epoch) {
	s.t.Helper()
	client := &control.Client{Conn: s.nc}
	for ctx := s.within(); ; {
		list, err := client.Checkpoints(ctx, control.AppRequest{App: app})
		if err != nil {
			s.t.Fatal(err)
		}
		if !slices.ContainsFunc(list.Checkpoints, func(c control.CheckpointInfo) bool { return c.Epoch == epoch }) {
			return
		}
	}
}

// results returns how many results the output stream of a partition has.
func (s *liveNode) results(ctx context.Context, p uint32) (n uint64) {
	s.t.Helper()
	subject := natsconn.OutSubject("sums", "Out", p)
	stream, err := s.js.Stream(ctx, natsconn.OutStream("sums", p))
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		s.t.Fatal(err)
	}
	return info.State.Subjects[subject]
}

// Doctor names a shadow that no process runs: it keeps the log.
func TestDoctorMissesAShadow(t *testing.T) {
	s := startNodeOf(t, slices.DeleteFunc(slices.Clone(node.Services), func(name string) bool { return name == "recovery" }), divided)
	s.cli(0, "checkpoint trigger sums")
	s.prints(1, "app shadow "+nextOf(t, "", "")+" --timeout 300ms", "has not caught up with the log yet", "no recovery is there")
	s.prints(0, "doctor", "shadow of sums", "no process runs it, and it keeps checkpoint 1 and the log after it", "app shadow stop sums")
	s.cli(0, "app shadow stop sums")
	if text := s.cli(0, "doctor"); strings.Contains(text, "shadow") {
		t.Error(text)
	}
}
