package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestFullLog fills the logs. Publishers wait, and get an error once ingest's memory is full.
// Acknowledged events have their results, also after a stop. Once the limit is raised, everything
// continues.
func TestFullLog(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	messages := trades(rnd, 10_000)
	want := offline(t, messages)
	flood := write(t, "flood.siddhi", `@app:name('Flooded') define stream Flood (text string); from Flood select text insert into FloodOut;`)
	data := t.TempDir()
	all := append(apps(), flood)
	pub := newPublisher(t, rnd, messages)

	p := serving(t, data, append(all, "--wal.bytes_max", "64KiB", "--ingest.memory_max", "1MiB", "--checkpoint.interval", "1h")...)
	ended := make(chan error, 1)
	go func() { ended <- pub.run(p.url(), len(messages), 100) }()
	eventually(t, "a log is full", func() bool { return strings.Contains(p.log.String(), "the log takes no frames") })
	floodUntilRefused(t, p.connect())
	p.stop()
	if err := <-ended; err == nil {
		t.Fatal("everything fitted into the logs")
	}
	n := pub.acknowledged()
	t.Logf("%d of %d messages fitted into the logs", n, len(messages))
	if n == 0 {
		t.Error("nothing was acknowledged before the logs were full")
	}
	got := stored(t, data)
	checkPrefix(t, got, want)
	checkCovers(t, got, want, messages, n)

	finish(t, data, pub)
	checkSame(t, stored(t, data), want)
}

// floodUntilRefused publishes to another log until the memory is full.
func floodUntilRefused(t *testing.T, nc *nats.Conn) {
	t.Helper()
	inbox := nats.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	must(t, err)
	const overloaded = 20005
	random := rand.NewChaCha8([32]byte{}) // text that does not compress
	text := make([]byte, 2000)
	for range 1000 { // more than log and memory hold
		_, _ = random.Read(text)
		must(t, nc.PublishRequest("events.Flood", inbox, fmt.Appendf(nil, `{"text":"%x"}`, text)))
	}
	for {
		m, err := answers.NextMsg(patience)
		must(t, err)
		var r *refusal
		err = readAnswer(m)
		if errors.As(err, &r) && r.code == overloaded {
			if !strings.Contains(r.text, "ingest.memory_max") {
				t.Errorf("the answer does not name the setting: %s", r.text)
			}
			return
		}
		must(t, err)
	}
}
