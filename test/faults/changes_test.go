package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// anyVersion returns a random text of app Changed, whose counts go on in all versions. Its results
// have n as made.
func anyVersion(rnd *rand.Rand, n int) string {
	pick := func(texts ...string) string { return texts[rnd.IntN(len(texts))] }
	more := pick("", fmt.Sprintf(" @info(name='extra') from Changes[k %% 3 == %d] select k, count() as n, %d as made insert into Extra;", rnd.IntN(3), n))
	window := pick("", "[v > 2]") + fmt.Sprintf("#window.length(%d)", 1+rnd.IntN(6))
	return fmt.Sprintf(`@app:name('Changed') @app:partitions('%d') define stream Changes (%s);
		partition with (k of Changes) begin @info(name='counts') from Changes select k, count() as n, %d as made insert into Out;
		@info(name='win') from Changes%s select k, sum(v) as total%s, %d as made insert into Sums;%s end;`,
		changedPartitions, pick("k int, v int", "v int, k int", "k int, v long"), n,
		window, pick("", ", max(v) as most", ", count() as n"), n, more)
}

// madeIn finds the number in a text of anyVersion.
var madeIn = regexp.MustCompile(`(\d+) as made insert into Out`)

// TestRandomChanges changes a live app fifty times, to random texts and back to earlier ones, while
// events are published, and kills the process again and again. Each acknowledged event is in the
// results of exactly one version, once and in order, and they equal those of an offline replay of
// each log with the same changes.
func TestRandomChanges(t *testing.T) {
	rnd, changes := random(t), 50
	if testing.Short() {
		changes = 2
	}
	began := time.Now()
	c := &changer{t: t, rnd: rnd, data: t.TempDir(), first: anyVersion(rnd, 1), kills: map[string]int{}}
	c.start()
	c.o.command("app", "deploy", write(t, "first.siddhi", c.first))
	o, err := c.o.ctl.Trigger(c.o.within(), control.AppRequest{App: "Changed"}) // the log is complete from here
	must(t, err)
	if !o.Committed {
		t.Fatalf("%+v", o)
	}
	for i := range changes {
		c.change(i)
	}
	c.published = publishOne(c.o.within(), c.o, c.published)
	c.settle()
	rows := c.check()
	c.o.p.stop()
	t.Logf("%d changes made versions 1 to %d, %d of them rollbacks; %d kills (%v); %d events, %d results; %s",
		changes, c.newest, c.rollbacks, c.killed, c.kills, c.published, rows, time.Since(began).Round(time.Second))
}

// changer changes an app, and kills its process.
type changer struct {
	t         *testing.T
	rnd       *rand.Rand
	data      string
	first     string
	o         *operator
	published int
	newest    uint32 // version
	rollbacks int
	killed    int
	kills     map[string]int
}

// start starts the process.
func (c *changer) start() {
	other := write(c.t, "other.siddhi", counting("Other", 1, "Orders"))
	c.o = operate(serving(c.t, c.data, other, "--checkpoint.interval=500ms", "--retention.span=100h"))
}

// change requests change i while events are published. It may kill the process at a step of the
// change, or while it goes on.
func (c *changer) change(i int) {
	r := control.UpgradeRequest{Text: anyVersion(c.rnd, i+2), Drop: true}
	if c.newest > 1 && c.rnd.IntN(3) == 0 {
		r = control.UpgradeRequest{App: "Changed", To: 1 + c.rnd.Uint32N(c.newest), Drop: true}
		c.rollbacks++
	}
	how, after := "none", 1+c.rnd.IntN(200)
	if testing.Short() {
		after = 1 + c.rnd.IntN(20)
	}
	switch n := c.rnd.IntN(4); {
	case n == 0:
		how = "while it goes on"
	case n < 3 || i == 0:
		how = string(faultpoint.OfUpgrade[c.rnd.IntN(len(faultpoint.OfUpgrade))])
		c.o.p.arm("kill " + how + " 1")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		for range after {
			c.published = publishOne(ctx, c.o, c.published)
		}
		if how == "while it goes on" {
			c.o.p.signal(syscall.SIGKILL)
		}
		c.published = publishUntil(ctx, c.o, c.published)
	})
	both.Go(func() {
		if _, err := c.o.ctl.Upgrade(ctx, r); err != nil && how == "none" {
			c.t.Errorf("change %d: %v", i, err)
		}
		if how == "none" {
			cancel()
		}
	})
	if how == "none" {
		both.Wait()
	} else {
		c.awaitKill(cancel, &both, how)
	}
	cancel()
	c.settle()
}

// awaitKill waits until the process has died, and starts it again. A change to the text in force
// comes to no step, so the process is killed after a while.
func (c *changer) awaitKill(cancel context.CancelFunc, both *sync.WaitGroup, how string) {
	c.t.Helper()
	p := c.o.p
	defer time.AfterFunc(3*time.Second, func() { p.signal(syscall.SIGKILL) }).Stop()
	if code := c.o.p.end(); code != -1 {
		c.t.Fatalf("%s: ended with code %d", how, code)
	}
	cancel()
	both.Wait()
	c.killed++
	c.kills[how]++
	c.start()
}

// settle waits until all partitions run the newest version.
func (c *changer) settle() {
	c.t.Helper()
	eventually(c.t, "all partitions run the newest version", func() bool {
		h, err := c.o.ctl.History(c.o.within(), control.AppRequest{App: "Changed"})
		must(c.t, err)
		c.newest = h.Versions[len(h.Versions)-1].Number
		a, err := c.o.ctl.App(c.o.within(), control.AppRequest{App: "Changed"})
		must(c.t, err)
		return a.Version == c.newest && len(a.Missing) == 0
	})
}

// check compares the results with those of replays, and returns how many there are.
func (c *changer) check() (total int) {
	c.t.Helper()
	counted := map[int]int{}
	for p := range uint32(changedPartitions) {
		want, made := c.replayed(p)
		for stream, rows := range want {
			var got []string
			eventually(c.t, fmt.Sprintf("partition %d has %d results of %s", p, len(rows), stream), func() bool {
				got = c.results(p, stream, made)
				return len(got) >= len(rows)
			})
			for i := range max(len(got), len(rows)) {
				if i >= len(got) || i >= len(rows) || got[i] != rows[i] {
					c.t.Fatalf("partition %d, stream %s: %d results, want %d; result %d differs: %q, want %q", p, stream, len(got), len(rows), i, got[min(i, len(got)):min(i+3, len(got))], rows[min(i, len(rows)):min(i+3, len(rows))])
				}
				if stream == "Out" {
					key, n, _ := strings.Cut(got[i], ",")
					k, err := strconv.Atoi(key)
					must(c.t, err)
					counted[k]++
					if count, _, _ := strings.Cut(n, ","); count != strconv.Itoa(counted[k]) {
						c.t.Fatalf("key %d has %s as count %d", k, got[i], counted[k])
					}
				}
			}
			total += len(got)
		}
	}
	events := 0
	for _, n := range counted {
		events += n
	}
	if events != c.published {
		c.t.Fatalf("%d events are counted, and %d were acknowledged", events, c.published)
	}
	return total
}

// results returns the values of the results of a stream. made has the number in the text of each
// version.
func (c *changer) results(p uint32, stream string, made map[string]string) (rows []string) {
	c.t.Helper()
	last := 0
	c.each(natsconn.OutStream("Changed", p), natsconn.OutSubject("Changed", stream, p), func(m jetstream.Msg) {
		row := bare(m.Data())
		version := m.Headers().Get("Ef-Version")
		n, err := strconv.Atoi(version)
		must(c.t, err)
		if n < last || !strings.HasSuffix(row, ","+made[version]) {
			c.t.Fatalf("partition %d, stream %s: result %s has version %s after %d, whose number is %s", p, stream, m.Data(), version, last, made[version])
		}
		last = n
		rows = append(rows, row)
	})
	return rows
}

var memberName = regexp.MustCompile(`"\w+":`)

// bare returns the values of a row, which has no texts.
func bare(row []byte) string {
	return strings.Trim(string(memberName.ReplaceAll(row, nil)), "{}[]")
}

// each visits the messages that a stream has on a subject.
func (c *changer) each(stream, subject string, visit func(jetstream.Msg)) {
	c.t.Helper()
	consumer, err := c.o.js.OrderedConsumer(c.o.within(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	must(c.t, err)
	info, err := consumer.Info(c.o.within())
	must(c.t, err)
	for left := int(info.NumPending); left > 0; {
		batch, err := consumer.Fetch(min(left, 5000), jetstream.FetchMaxWait(patience))
		must(c.t, err)
		for m := range batch.Messages() {
			visit(m)
			left--
		}
		must(c.t, batch.Error())
	}
}

// replayed replays the log of a partition with its changes, and returns the results by stream, and
// the number in the text of each version.
func (c *changer) replayed(p uint32) (rows map[string][]string, made map[string]string) {
	c.t.Helper()
	dir := c.t.TempDir()
	must(c.t, os.WriteFile(filepath.Join(dir, "1.siddhi"), []byte(c.first), 0o600))
	var lines bytes.Buffer
	var decoder frame.Decoder
	made, version, seen, now := map[string]string{"1": "1"}, uint32(1), map[string]bool{}, int64(0)
	c.each(natsconn.WALStream("Changed", p), ">", func(m jetstream.Msg) {
		f, err := decoder.Decode(m.Data())
		must(c.t, err)
		now = max(now, f.Stamp)
		switch {
		case f.Kind == frame.Deploy && f.Deploy.Number > version:
			version = f.Deploy.Number
			name := fmt.Sprintf("%d.siddhi", version)
			must(c.t, os.WriteFile(filepath.Join(dir, name), []byte(f.Deploy.Text), 0o600))
			made[fmt.Sprint(version)] = strings.Clone(madeIn.FindStringSubmatch(f.Deploy.Text)[1])
			fmt.Fprintf(&lines, "{\"op\":\"upgrade\",\"app\":%q,\"ts\":%d,\"drop\":true}\n", name, now)
		case f.Kind == frame.Events:
			eventLines(&lines, f, seen, now)
		}
	})
	events := filepath.Join(dir, "events.ndjson")
	must(c.t, os.WriteFile(events, lines.Bytes(), 0o600))
	out, err := exec.Command(binary, "replay", filepath.Join(dir, "1.siddhi"), "--events", events).Output()
	if err != nil {
		c.t.Fatalf("replay of partition %d: %v, %s", p, err, lines.Bytes()[:min(lines.Len(), 2000)])
	}
	rows = map[string][]string{}
	for line := range bytes.Lines(out) {
		var row struct {
			Stream string
			Data   json.RawMessage
		}
		must(c.t, json.Unmarshal(line, &row))
		rows[row.Stream] = append(rows[row.Stream], bare(row.Data))
	}
	return rows, made
}

// eventLines writes the events of a frame whose ids were not seen before.
func eventLines(lines *bytes.Buffer, f *frame.Frame, seen map[string]bool, now int64) {
	next := make([]int, len(f.Blocks))
	for _, run := range f.Runs {
		batch, row := f.Blocks[run.Block].Batch, next[run.Block]
		next[run.Block] += run.Rows
		if seen[run.ID] {
			continue
		}
		seen[strings.Clone(run.ID)] = true // the decoder uses its memory again
		s := batch.Schema
		fmt.Fprintf(lines, "{\"stream\":%q,\"ts\":%d,\"data\":{\"k\":%d,\"v\":%d}}\n", s.Name, now, batch.Cols[s.Index("k")].Ints[row], batch.Cols[s.Index("v")].Ints[row])
	}
}
