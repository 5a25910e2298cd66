package faults

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// changedLogs is what the logs of app Changed hold.
type changedLogs struct {
	texts  map[uint32]string // of all versions
	events []loggedEvent     // each once, in the order of their versions; those of a key in its order
}

type loggedEvent struct {
	version uint32 // in force where it is in the log
	stamp   int64
	id      string
	k, v    int64
}

// changedRow is a result of app Changed: its values, and the version that made it. A replay does
// not tell the version.
type changedRow struct {
	values  string
	version uint32
}

// changedRows are results by key, those of a stream in their order.
type changedRows map[string][]changedRow

// check compares the results with those of a replay, and returns how many there are.
func (c *changer) check() (total int) {
	c.t.Helper()
	logs := c.logs()
	if len(logs.events) != c.published {
		c.t.Fatalf("the logs have %d events, and %d were acknowledged", len(logs.events), c.published)
	}
	versions := map[string][]uint32{} // of the events of each key
	for _, e := range logs.events {
		key := fmt.Sprint(e.k)
		versions[key] = append(versions[key], e.version)
	}
	for stream, want := range c.replayed(logs) {
		var got changedRows
		eventually(c.t, fmt.Sprintf("stream %s has %d results", stream, want.count()), func() bool {
			got = c.results(stream, logs)
			return got.count() >= want.count()
		})
		c.compare(stream, got, want)
		if stream == "Out" {
			c.checkCounts(got, versions)
		}
		total += got.count()
	}
	return total
}

func (rows changedRows) count() (n int) {
	for _, list := range rows {
		n += len(list)
	}
	return n
}

func (c *changer) compare(stream string, got, want changedRows) {
	c.t.Helper()
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want[key] == nil {
			c.t.Fatalf("stream %s has %d results of key %s, want none", stream, len(got[key]), key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		g, w := got[key], want[key]
		for i := range max(len(g), len(w)) {
			if i >= len(g) || i >= len(w) || g[i].values != w[i].values {
				c.t.Fatalf("stream %s has %d results of key %s, want %d; result %d differs: %v, want %v",
					stream, len(g), key, len(w), i, g[min(i, len(g)):min(i+3, len(g))], w[min(i, len(w)):min(i+3, len(w))])
			}
		}
	}
}

// checkCounts checks that each event is counted once, by the version that was in force.
func (c *changer) checkCounts(got changedRows, versions map[string][]uint32) {
	c.t.Helper()
	for key, list := range versions {
		for i, version := range list {
			if i >= len(got[key]) || got[key][i].version != version || !strings.HasPrefix(got[key][i].values, fmt.Sprintf("%s,%d,", key, i+1)) {
				c.t.Fatalf("event %d of key %s has result %v, want count %[1]d by version %[4]d", i+1, key, got[key][min(i, len(got[key])):min(i+1, len(got[key]))], version)
			}
		}
	}
}

// madeIn finds the number in a text of anyVersion, and partitionsIn the one of partitions.
var (
	madeIn       = regexp.MustCompile(`(\d+) as made insert into Out`)
	partitionsIn = regexp.MustCompile(`@app:partitions\('(\d+)'\)`)
)

func (l *changedLogs) made(version uint32) string {
	return madeIn.FindStringSubmatch(l.texts[version])[1]
}

func (c *changer) partitionsOf(l *changedLogs, version uint32) uint32 {
	n, err := strconv.ParseUint(partitionsIn.FindStringSubmatch(l.texts[version])[1], 10, 32)
	must(c.t, err)
	return uint32(n)
}

// results returns the results of a stream, those of earlier generations first. Each is of the
// partition that its key has in the version.
func (c *changer) results(stream string, logs *changedLogs) changedRows {
	c.t.Helper()
	generations := map[int]changedRows{}
	for p := range c.most {
		last := 0
		c.each(natsconn.OutStream("Changed", p), natsconn.OutSubject("Changed", stream, p), func(m jetstream.Msg) {
			values := bare(m.Data())
			key, _, _ := strings.Cut(values, ",")
			version, err := strconv.Atoi(m.Headers().Get("Ef-Version"))
			must(c.t, err)
			generation, err := strconv.Atoi(m.Headers().Get("Ef-Generation"))
			must(c.t, err)
			v := uint32(version)
			if version < last || logs.texts[v] == "" || !strings.HasSuffix(values, ","+logs.made(v)) || engine.Home(key, c.partitionsOf(logs, v)) != p {
				c.t.Fatalf("partition %d, stream %s: result %s has version %d after %d; the versions are %v", p, stream, m.Data(), version, last, logs.texts)
			}
			last = version
			if generations[generation] == nil {
				generations[generation] = changedRows{}
			}
			generations[generation][key] = append(generations[generation][key], changedRow{values, v})
		})
	}
	rows := changedRows{}
	for _, g := range slices.Sorted(maps.Keys(generations)) {
		for key, list := range generations[g] {
			rows[key] = append(rows[key], list...)
		}
	}
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

// logs reads the logs of all partitions. In each log a version is in force from its deploy frame
// on, and a key has one partition in each version, so the version of its events is their order.
// Partition 0 is in every generation, so its log has all versions after the first, whose deploy frames
// are trimmed.
func (c *changer) logs() *changedLogs {
	c.t.Helper()
	logs := &changedLogs{texts: map[uint32]string{1: c.first}}
	for p := range c.most {
		var decoder frame.Decoder
		version, now := uint32(1), int64(0)
		c.each(natsconn.WALStream("Changed", p), ">", func(m jetstream.Msg) {
			f, err := decoder.Decode(m.Data())
			must(c.t, err)
			now = max(now, f.Stamp)
			switch f.Kind {
			case frame.Deploy:
				version = max(version, f.Deploy.Number)
				if p == 0 {
					logs.texts[f.Deploy.Number] = strings.Clone(f.Deploy.Text)
				}
			case frame.Events:
				logs.events = appendEvents(logs.events, f, version, now)
			}
		})
	}
	slices.SortStableFunc(logs.events, func(a, b loggedEvent) int {
		return cmp.Or(cmp.Compare(a.version, b.version), cmp.Compare(a.stamp, b.stamp))
	})
	seen := map[string]bool{}
	logs.events = slices.DeleteFunc(logs.events, func(e loggedEvent) bool {
		known := seen[e.id]
		seen[e.id] = true
		return known
	})
	return logs
}

// appendEvents appends the events of a frame. The decoder uses the memory of the frame again.
func appendEvents(events []loggedEvent, f *frame.Frame, version uint32, now int64) []loggedEvent {
	next := make([]int, len(f.Blocks))
	for _, run := range f.Runs {
		batch, row := f.Blocks[run.Block].Batch, next[run.Block]
		next[run.Block] += run.Rows
		s := batch.Schema
		events = append(events, loggedEvent{
			version: version, stamp: now, id: strings.Clone(run.ID),
			k: batch.Cols[s.Index("k")].Ints[row], v: batch.Cols[s.Index("v")].Ints[row],
		})
	}
	return events
}

// replayed replays the events with one partition and the same changes, and returns the results by
// stream. Results of a partition block do not depend on the number of partitions.
func (c *changer) replayed(logs *changedLogs) map[string]changedRows {
	c.t.Helper()
	dir := c.t.TempDir()
	name := func(version uint32) string { return fmt.Sprintf("%d.siddhi", version) }
	for version, text := range logs.texts {
		text, err := siddhiql.WithPartitions(text, 1)
		must(c.t, err)
		must(c.t, os.WriteFile(filepath.Join(dir, name(version)), []byte(text), 0o600))
	}
	var lines bytes.Buffer
	version, now := uint32(1), int64(0)
	upgrade := func(to uint32) {
		for ; version < to; version++ {
			fmt.Fprintf(&lines, "{\"op\":\"upgrade\",\"app\":%q,\"ts\":%d,\"drop\":true}\n", name(version+1), now)
		}
	}
	for _, e := range logs.events {
		upgrade(e.version)
		now = max(now, e.stamp)
		fmt.Fprintf(&lines, "{\"stream\":\"Changes\",\"ts\":%d,\"data\":{\"k\":%d,\"v\":%d}}\n", now, e.k, e.v)
	}
	upgrade(c.newest)
	events := filepath.Join(dir, "events.ndjson")
	must(c.t, os.WriteFile(events, lines.Bytes(), 0o600))
	replay := exec.Command(binary, "replay", filepath.Join(dir, name(1)), "--events", events)
	var stderr strings.Builder
	replay.Stderr = &stderr
	out, err := replay.Output()
	if err != nil {
		c.t.Fatalf("replay: %v\n%s\n%s", err, stderr.String(), lines.Bytes()[:min(lines.Len(), 2000)])
	}
	rows := map[string]changedRows{}
	for line := range bytes.Lines(out) {
		var row struct {
			Stream string
			Data   json.RawMessage
		}
		must(c.t, json.Unmarshal(line, &row))
		values := bare(row.Data)
		key, _, _ := strings.Cut(values, ",")
		if rows[row.Stream] == nil {
			rows[row.Stream] = changedRows{}
		}
		rows[row.Stream][key] = append(rows[row.Stream][key], changedRow{values: values})
	}
	return rows
}
