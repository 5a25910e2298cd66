package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-faster/jx"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// row is a result.
type row struct {
	kind string
	ts   int64
	data string // its values
	// Only of rows that replay made: the number of the input line that caused the row, and the
	// clock at that moment.
	input int
	clock int64
}

// results holds rows by subject, in order.
type results map[string][]row

// logs is the number of partitions of each app.
var logs = map[string]int{"Shapes": 1, "Clock": 1, "Spread": 3}

// apps returns the files of all apps whose results are compared.
func apps() []string { return []string{app("shapes"), app("clock"), app("spread")} }

// offline replays messages with the program, without a server.
func offline(t *testing.T, messages []message) results {
	t.Helper()
	all := results{}
	for name := range logs {
		replay(t, name, replayLines(messages), all)
	}
	return all
}

// inside are the tables and the named window of the apps, whose rows are not published.
var inside = []string{"Latest", "Dear", "Heavy"}

// replay adds the results of replaying lines for an app.
func replay(t *testing.T, name, lines string, all results) {
	t.Helper()
	replaySpread(t, name, max(logs[name], 1), lines, all)
}

// replaySpread is replay for an app with the given number of partitions.
func replaySpread(t *testing.T, name string, partitions int, lines string, all results) {
	t.Helper()
	file := write(t, "trades.ndjson", lines)
	out, err := exec.Command(binary, "replay", app(strings.ToLower(name)), "--events", file).Output()
	if err != nil {
		t.Fatalf("replay of %s: %v", name, err)
	}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		var line struct {
			Stream, Kind string
			TS           int64
			Data         json.RawMessage
			Input        int
			Clock        int64
		}
		must(t, json.Unmarshal(scan.Bytes(), &line))
		if slices.Contains(inside, line.Stream) {
			continue
		}
		r := row{kind: line.Kind, ts: line.TS, data: values(t, line.Data), input: line.Input, clock: line.Clock}
		subject := fmt.Sprintf("out.%s.%s.%d", name, line.Stream, shard(partitions, r.data))
		all[subject] = append(all[subject], r)
	}
}

// shard returns the partition that a row comes from. Apps with several partitions have the symbol
// as partition key, and as the second value of their rows.
func shard(partitions int, data string) uint32 {
	if partitions == 1 {
		return 0
	}
	hash := fnv.New32a()
	hash.Write([]byte(strings.Trim(strings.Split(data, ",")[1], `"`)))
	return hash.Sum32() % uint32(partitions)
}

// values returns the values of a JSON object or array, separated by commas.
func values(t *testing.T, text []byte) string {
	var all []string
	value := func(d *jx.Decoder) error {
		v, err := d.Raw()
		all = append(all, string(v))
		return err
	}
	var err error
	if d := jx.DecodeBytes(text); d.Next() == jx.Array {
		err = d.Arr(value)
	} else {
		err = d.ObjBytes(func(d *jx.Decoder, _ []byte) error { return value(d) })
	}
	if err != nil {
		t.Fatalf("row %s: %v", text, err)
	}
	return strings.Join(all, ",")
}

// stored reads the results from a data folder that no process uses, without fences.
func stored(t *testing.T, data string) results {
	t.Helper()
	all := results{}
	within(t, data, func(ctx context.Context, js jetstream.JetStream) {
		for name, partitions := range logs {
			for p := range partitions {
				readStream(ctx, t, js, natsconn.OutStream(name, uint32(p)), all)
			}
		}
	})
	return all
}

// storedOf is stored for one app with one partition.
func storedOf(t *testing.T, data, name string) results {
	t.Helper()
	all := results{}
	within(t, data, func(ctx context.Context, js jetstream.JetStream) {
		readStream(ctx, t, js, natsconn.OutStream(name, 0), all)
	})
	return all
}

// within opens a data folder that no process uses.
func within(t *testing.T, data string, do func(context.Context, jetstream.JetStream)) {
	t.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: filepath.Join(data, "nats"), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer func() { must(t, srv.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := natsconn.Connect(ctx, natsconn.ConnectConfig{Embedded: srv, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	do(ctx, js)
}

// readStream adds the results of one output stream, and checks that positions increase on each
// subject.
func readStream(ctx context.Context, t *testing.T, js jetstream.JetStream, name string, all results) {
	t.Helper()
	stream, err := js.Stream(ctx, name)
	must(t, err)
	end := stream.CachedInfo().State.LastSeq
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	must(t, err)
	messages, err := consumer.Messages()
	must(t, err)
	defer messages.Stop()
	last := map[string][2]uint64{}
	for seq := uint64(0); seq < end; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		must(t, err)
		meta, err := m.Metadata()
		must(t, err)
		seq = meta.Sequence.Stream
		subject, h := m.Subject(), m.Headers()
		if strings.HasPrefix(subject, "ef.fence.") {
			continue
		}
		at := position(t, h.Get("Ef-Position"))
		if before := last[subject]; at[0] < before[0] || at[0] == before[0] && at[1] <= before[1] {
			t.Fatalf("%s: position %v follows %v", subject, at, before)
		}
		last[subject] = at
		ts, err := strconv.ParseInt(h.Get("Ef-Timestamp"), 10, 64)
		must(t, err)
		for line := range bytes.Lines(m.Data()) { // a packed message has several rows
			all[subject] = append(all[subject], row{kind: h.Get("Ef-Kind"), ts: ts, data: values(t, line)})
		}
	}
}

func position(t *testing.T, text string) (p [2]uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(text, "%d.%d", &p[0], &p[1]); err != nil {
		t.Fatalf("position %q: %v", text, err)
	}
	return p
}

// same reports whether two rows of a subject are equal. Timestamps are not compared where arrival
// drives the clock and a row expires, and in packed messages, which carry the timestamp of their
// last row.
func same(subject string, a, b row) bool {
	timed := strings.HasPrefix(subject, "out.Clock.") || a.kind == "current" && !strings.Contains(subject, ".Large.")
	return a.kind == b.kind && a.data == b.data && (!timed || a.ts == b.ts)
}

// checkSame compares the stored results with all that are wanted.
func checkSame(t *testing.T, got, want results) {
	t.Helper()
	checkPrefix(t, got, want)
	for subject, rows := range want {
		if n := len(got[subject]); n < len(rows) {
			t.Errorf("%s: %d of %d results, the first that is missing is %+v", subject, n, len(rows), rows[n])
		}
	}
}

// checkPrefix checks that the stored results are a prefix of the wanted ones.
func checkPrefix(t *testing.T, got, want results) {
	t.Helper()
	for subject, rows := range got {
		for i, r := range rows {
			if i >= len(want[subject]) {
				t.Errorf("%s: %d results, want %d; the first too many is %+v", subject, len(rows), len(want[subject]), r)
				break
			}
			if w := want[subject][i]; !same(subject, r, w) {
				t.Errorf("%s: result %d is\n  %+v, want\n  %+v", subject, i, r, w)
				break
			}
		}
	}
}

// checkCovers checks that all results of the first n messages are stored.
func checkCovers(t *testing.T, got, want results, messages []message, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	m := messages[n-1]
	for subject, rows := range want {
		clock := int64(n - 1)
		if strings.HasPrefix(subject, "out.Clock.") {
			clock = m.clock
		}
		for i := len(got[subject]); i < len(rows); i++ {
			if r := rows[i]; r.input < m.lines || r.input == m.lines && r.clock <= clock {
				t.Errorf("%s: %d results; result %d follows from the %d messages that were acknowledged, and is missing: %+v",
					subject, len(got[subject]), i, n, r)
				break
			}
		}
	}
}

func (r results) count() (n int) {
	for _, rows := range r {
		n += len(rows)
	}
	return n
}
