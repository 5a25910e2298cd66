package publish

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const payloadMax = 8 << 10 // of the test server

// answers are the answers that a script can use. "" means no answer.
var answers = map[string]string{
	"ok":      `{"stream":"EFW_a_0","seq":1}`,
	"dup":     `{"stream":"EFW_a_0","seq":1,"duplicate":true}`,
	"busy":    `{"error":{"code":503,"description":"the log is full"}}`,
	"bad":     `{"error":{"code":400,"err_code":20004,"description":"1 of 1 events refused"},"accepted":0,"rejected_count":1,"rejected":[{"index":0,"reason":"expected int, found \"x\""}]}`,
	"header":  `{"error":{"code":400,"err_code":20003,"description":"Ef-Timestamp is no time"}}`,
	"part":    `{"stream":"EFW_a_0","seq":1,"error":{"code":400,"err_code":20004,"description":"1 of 2 events refused"},"accepted":1,"rejected_count":1,"rejected":[{"index":1,"app":"a","reason":"unknown attribute \"b\""},{"index":1,"app":"b","reason":"the same"}]}`,
	"many":    `{"error":{"code":400,"err_code":20004,"description":"3 of 3 events refused"},"accepted":0,"rejected_count":3,"rejected":[{"index":0,"reason":"the first"}]}`,
	"one":     `{"stream":"EFW_a_0","seq":1,"rejected_count":1,"rejected":[{"index":1,"app":"b","code":400,"text":"n: expected int"}]}`,
	"notyet":  `{"error":{"code":503,"err_code":20006,"description":"the log ended"},"accepted":["a"],"id":"x"}`,
	"nowhere": `{"error":{"code":404,"err_code":20001,"description":"no app reads events.S; there is events.T"}}`,
	"silent":  ``,
	"junk":    `<html>`,
}

// Each script publishes lines, in order, to an ingest that gives the listed answers and then
// repeats the last one. It prints the messages that arrived and what the observer got.
func TestPublish(t *testing.T) {
	nc := connect(t)
	datadriven.RunTest(t, "testdata/publish.txt", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "publish" {
			d.Fatalf(t, "unknown command")
		}
		opt := Options{
			Subject: "events.S", Batch: 1, InFlight: 1, IDPrefix: "id",
			Timeout: 10 * time.Second, answerTime: 50 * time.Millisecond,
		}
		var script []string
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "answers":
				script = arg.Vals
			case "batch":
				arg.Scan(t, 0, &opt.Batch)
			case "timeout":
				opt.Timeout = time.Second
			case "msg-id":
				opt.IDPrefix, opt.IDAttr = "", arg.Vals[0]
			case "ts":
				opt.TimeAttr = arg.Vals[0]
			case "chunk":
				opt.Chunk = true
			}
		}
		ingest := listen(t, nc, opt.Subject, script)
		seen := &record{}
		// A word in capitals stands for a text of that many bytes.
		input := strings.NewReplacer("HUGE", strings.Repeat("h", payloadMax), "HALF", strings.Repeat("h", payloadMax/4)).Replace(d.Input)
		result, err := Run(t.Context(), nc, strings.NewReader(input+"\n"), opt, seen)
		out := ingest.stop(t) + seen.String()
		out += fmt.Sprintf("accepted=%d duplicate=%d refused=%d bytes=%d of %d\n",
			result.Accepted, result.Duplicate, result.Refused, seen.bytes, len(input)+1)
		if err != nil {
			out += "error: " + err.Error() + "\n"
		}
		return strings.ReplaceAll(out, strings.Repeat("h", payloadMax/4), "HALF")
	})
}

// With many messages in flight, those without an answer are repeated until all are accepted.
func TestEveryEventIsAcceptedOnceWhateverIsLost(t *testing.T) {
	const events = 2000
	nc := connect(t)
	var mu sync.Mutex
	sendings := map[string]int{}
	sub, err := nc.Subscribe("events.S", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		id := m.Header.Get(nats.MsgIdHdr)
		sendings[id]++
		if len(id)%2 == 0 && sendings[id] == 1 {
			return
		}
		_ = m.Respond([]byte(answers["ok"]))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	opt := Options{Subject: "events.S", Batch: 1, InFlight: 64, Timeout: time.Minute, answerTime: 100 * time.Millisecond}
	result, err := Run(t.Context(), nc, strings.NewReader(strings.Repeat("{}\n", events)), opt, &record{})
	if err != nil || result.Accepted != events || result.Refused != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if len(sendings) != events {
		t.Errorf("%d message ids for %d events", len(sendings), events)
	}
}

func connect(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, MaxPayload: payloadMax})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// ingest records the messages that arrive, and answers by a script.
type ingest struct {
	sub *nats.Subscription
	mu  sync.Mutex
	log strings.Builder
}

func listen(t *testing.T, nc *nats.Conn, subject string, script []string) *ingest {
	t.Helper()
	in := &ingest{}
	if len(script) == 0 {
		return in
	}
	n, last := 0, ""
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		in.mu.Lock()
		defer in.mu.Unlock()
		word := script[min(n, len(script)-1)]
		n++
		line := fmt.Sprintf("%s id=%s ts=%s chunk=%s: %s\n", word, m.Header.Get(nats.MsgIdHdr),
			m.Header.Get("Ef-Timestamp"), m.Header.Get("Ef-Chunk"), strings.ReplaceAll(string(m.Data), "\n", `\n`))
		if line != last { // how often a message is repeated depends on timing
			in.log.WriteString(line)
		}
		last = line
		if text := answers[word]; text != "" {
			_ = m.Respond([]byte(text))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	in.sub = sub
	return in
}

func (in *ingest) stop(t *testing.T) string {
	t.Helper()
	if in.sub == nil {
		return ""
	}
	if err := in.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		t.Fatal(err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.log.String()
}

// record is an observer that records its calls.
type record struct {
	strings.Builder
	bytes int64
}

func (r *record) Refused(line int, reason string) {
	fmt.Fprintf(r, "line %d refused: %s\n", line, strings.ReplaceAll(reason, fmt.Sprint(payloadMax+8), "N"))
}

func (r *record) Answered(_ Result, bytes int64) { r.bytes = bytes }
