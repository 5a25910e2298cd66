package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
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
	file := filepath.Join(t.TempDir(), "next.siddhi")
	write := func(from, to string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.Replace(divided, from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	s.prints(0, "app shadow "+write("", ""), "kept  sums/window", "Out     6      0          0         0", "6 events", "from checkpoint 1, 0 frames behind")
	s.prints(0, "app shadow "+file+" --from 1 --json", `"equal": 6,`, `"behind": 0,`, `"outcome": "kept"`)
	s.prints(1, "app shadow "+write("v > 3", "v > 3 and v != 13"), "Out     5      0          1         0", "Out only old, seq:", `"v":13}`, "the results of the two versions differ")
	s.prints(1, "app shadow "+write("length(4)", "time(1 sec)"), "refused  sums/window", "--drop compares without the state")
	s.prints(1, "app shadow "+write("'sums'", "'other'"), "other")
	s.prints(1, "app shadow "+write("k of S", "nobody of S"), "nobody")
	s.prints(2, "app shadow "+write("", "")+" --from x", "is no epoch")
	s.prints(1, "app shadow "+file+" --from 9", "checkpoint ls sums")
	s.prints(2, "app shadow "+file+" --every 0s", "--every 0s")
	s.prints(0, "app history sums", "current")
	if text := s.cli(0, "app history sums"); strings.Count(text, "\n") != 2 {
		t.Errorf("the app was changed:\n%s", text)
	}
}

// A shadow that follows compares what comes after it has started.
func TestShadowFollowsTheLog(t *testing.T) {
	s := startNode(t, divided)
	s.publish(0, 8)
	s.cli(0, "checkpoint trigger sums")
	shadowed := &shadowing{json: true, follow: true, every: 20 * time.Millisecond, text: strings.Replace(divided, "v > 3", "v > 3 and v % 5 != 0", 1)}
	ctx, cancel := context.WithCancel(s.within())
	defer cancel()
	if err := shadowed.open(ctx, s.nc, "sums", 0); err != nil {
		t.Fatal(err)
	}
	defer shadowed.close()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- shadowed.compare(ctx, write); _ = write.Close() }()
	s.publish(8, 30)
	for lines := bufio.NewScanner(read); lines.Scan(); {
		var now struct {
			Events, Behind uint64
			Streams        []struct {
				Equal, Different uint64
				OnlyOld          uint64 `json:"only_old"`
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &now); err != nil {
			t.Fatal(err)
		}
		if now.Events < 22 || now.Behind > 0 {
			continue
		}
		cancel() // the last report follows
		// 10, 15, 20 and 25 are gone, so sums after them differ.
		if o := now.Streams[0]; len(now.Streams) != 1 || o.OnlyOld != 4 || o.Equal+o.Different != 18 || o.Different == 0 {
			t.Errorf("%s", lines.Text())
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for ctx := s.within(); ; {
		switch n := s.results(ctx, 0) + s.results(ctx, 1); {
		case n > 26:
			t.Fatalf("%d results of 26 events that pass the filter: the shadow publishes", n)
		case n == 26:
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
