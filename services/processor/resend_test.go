package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

// Results whose publish got no answer, or a bad one, are sent again unchanged until the end of
// the stream shows that they are there, or that another owner has written.
func TestResend(t *testing.T) {
	const (
		taken   = `{"stream":"EFO_a_0","seq":8}`
		refusal = `{"stream":"EFO_a_0","error":{"code":400,"err_code":10071,"description":"wrong last sequence: 8"}}`
		ours    = "Ef-Position: 3.0\r\nEf-Generation: 1"
		silence = ""
	)
	for name, c := range map[string]struct {
		acks    []string // of publishes
		ends    []string // answers to requests for the end of the stream
		newest  string   // headers of the message there
		sent    int64
		refused float64
		err     error
	}{
		"taken":                              {acks: []string{taken}, sent: 1},
		"no answer for a while":              {acks: []string{silence, silence, taken}, ends: []string{silence, silence}, sent: 3},
		"lost, and the leader says so":       {acks: []string{silence, taken}, ends: []string{"7"}, sent: 2},
		"only the answer was lost":           {acks: []string{silence}, ends: []string{"8"}, newest: ours, sent: 1},
		"sent twice, and taken once":         {acks: []string{silence, refusal}, ends: []string{"7", "8"}, newest: ours, sent: 2},
		"another owner has written":          {acks: []string{refusal}, ends: []string{"8"}, newest: "Other: 1", sent: 1, refused: 1, err: errFenced},
		"another one, and it is not refused": {acks: []string{silence}, ends: []string{"8"}, newest: "Other: 1", sent: 1, err: errFenced},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait
			nc := plainServer(t)
			var sent, asked atomic.Int64
			answer := func(m *nats.Msg, from []string, n int64) {
				if n > int64(len(from)) {
					t.Errorf("%s is asked for the %d. time", m.Subject, n)
				} else if text := from[n-1]; text != silence {
					must(t, m.Respond([]byte(text)))
				}
			}
			subscribe := func(subject string, f func(*nats.Msg)) {
				_, err := nc.Subscribe(subject, f)
				must(t, err)
			}
			subscribe("out.a.S.0", func(m *nats.Msg) {
				if last, at := m.Header.Get(jetstream.ExpectedLastSeqHeader), m.Header.Get(headerPosition); last != "7" || at != "3.0" {
					t.Errorf("sent behind %s, position %s; want 7, 3.0", last, at)
				}
				answer(m, c.acks, sent.Add(1))
			})
			var ends []string
			for _, end := range c.ends {
				if end != silence {
					end = fmt.Sprintf(`{"state":{"last_seq":%s}}`, end)
				}
				ends = append(ends, end)
			}
			subscribe("$JS.API.STREAM.INFO.EFO_a_0", func(m *nats.Msg) { answer(m, ends, asked.Add(1)) })
			subscribe("$JS.API.STREAM.MSG.GET.EFO_a_0", func(m *nats.Msg) {
				data, err := json.Marshal(map[string]any{"message": map[string]any{
					"subject": "out.a.S.0", "seq": 8, "hdrs": []byte("NATS/1.0\r\n" + c.newest + "\r\n\r\n"),
				}})
				must(t, err)
				must(t, m.Respond(data))
			})
			e := newEmitter(nc, "EFO_a_0", 7, 1, batchMessagesDefault, quiet)
			e.after = 5 * time.Second // a busy machine answers within that
			e.newest = make([]result.Position, 1)
			e.refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			n, err := e.send(ctx, []byte("{}"), []message{{subject: "out.a.S.0", end: 2, at: position{seq: 3}}})
			if !errors.Is(err, c.err) || err == nil && (n != 1 || e.last != 8) {
				t.Errorf("sent %d, last %d, error %v; want 1, 8, %v", n, e.last, err, c.err)
			}
			if sent.Load() != c.sent || asked.Load() != int64(len(c.ends)) || testutil.ToFloat64(e.refused) != c.refused {
				t.Errorf("sent %d times, asked %d times, %v refused; want %d, %d, %v",
					sent.Load(), asked.Load(), testutil.ToFloat64(e.refused), c.sent, len(c.ends), c.refused)
			}
		})
	}
}

// plainServer returns a connection to a server without JetStream.
func plainServer(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// While a server stores an atomic batch, it can report an end in the middle of it. That is
// not another owner: the emitter continues after the stored part, and the next answer shows
// the end of its batch.
func TestResendSeesTheMiddleOfItsBatch(t *testing.T) {
	const results = 20
	at := func(seq uint64) string { return position{seq: 3, ordinal: seq - 8}.String() }
	for name, c := range map[string]struct {
		ends []uint64 // of the stream, one after the other
		sent []string // last sequence expected by each publish
		err  error
	}{
		"the middle, then the end":        {ends: []uint64{15, 27}, sent: []string{"7", "15"}},
		"the middle twice":                {ends: []uint64{9, 12, 27}, sent: []string{"7", "9", "12"}},
		"the end, and another owner":      {ends: []uint64{28}, sent: []string{"7"}},
		"the middle is another owner's":   {ends: []uint64{100}, sent: []string{"7"}, err: errFenced},
		"nothing readable, then the end":  {ends: []uint64{5000, 27}, sent: []string{"7", "7"}},
		"few are left of it":              {ends: []uint64{25, 27}, sent: []string{"7", "25", "26"}},
		"few are left, and another owner": {ends: []uint64{25, 28}, sent: []string{"7", "25", "26"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait
			nc := plainServer(t)
			var mu sync.Mutex // of the rest
			var sent []string
			asked := 0
			subscribe := func(subject string, f func(*nats.Msg)) {
				_, err := nc.Subscribe(subject, func(m *nats.Msg) {
					mu.Lock()
					defer mu.Unlock()
					f(m)
				})
				must(t, err)
			}
			subscribe("out.a.S.0", func(m *nats.Msg) {
				if last := m.Header.Get(jetstream.ExpectedLastSeqHeader); last != "" {
					sent = append(sent, last)
				}
				if m.Reply != "" {
					must(t, m.Respond([]byte(`{"stream":"EFO_a_0","error":{"code":400,"err_code":10071,"description":"wrong last sequence"}}`)))
				}
			})
			subscribe("$JS.API.STREAM.INFO.EFO_a_0", func(m *nats.Msg) {
				end := c.ends[min(asked, len(c.ends)-1)]
				asked++
				must(t, m.Respond(fmt.Appendf(nil, `{"state":{"last_seq":%d}}`, end)))
			})
			subscribe("$JS.API.STREAM.MSG.GET.EFO_a_0", func(m *nats.Msg) {
				var request struct{ Seq uint64 }
				must(t, json.Unmarshal(m.Data, &request))
				owner := "1"
				switch c.ends[min(asked, len(c.ends))-1] {
				case 5000:
					must(t, m.Respond([]byte(`{"error":{"code":404,"err_code":10037}}`)))
					return
				case 100:
					owner = "2"
				}
				data, err := json.Marshal(map[string]any{"message": map[string]any{
					"subject": "out.a.S.0", "seq": request.Seq,
					"hdrs": fmt.Appendf(nil, "NATS/1.0\r\nEf-Position: %s\r\nEf-Generation: %s\r\n\r\n", at(request.Seq), owner),
				}})
				must(t, err)
				must(t, m.Respond(data))
			})
			e := newEmitter(nc, "EFO_a_0", 7, 1, batchMessagesDefault, quiet)
			e.after = 5 * time.Second // a busy machine answers within that
			e.newest = make([]result.Position, 1)
			e.refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
			messages := make([]message, results)
			for i := range messages {
				messages[i] = message{subject: "out.a.S.0", end: 2, at: position{seq: 3, ordinal: uint64(i)}}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			var err error
			for rest := messages; len(rest) > 0 && err == nil; {
				var n int
				n, err = e.send(ctx, []byte("{}"), rest[:batchLength(rest, e.max)])
				rest = rest[n:]
			}
			mu.Lock()
			defer mu.Unlock()
			if !errors.Is(err, c.err) || err == nil && e.last != 7+results {
				t.Errorf("last %d, error %v; want %d, %v", e.last, err, 7+results, c.err)
			}
			if !slices.Equal(sent, c.sent) {
				t.Errorf("sent behind %v, want %v", sent, c.sent)
			}
		})
	}
}

// Against a real server, an emitter that repeatedly gives up waiting too early publishes each
// result once and in order: it recognizes its own batches, and does not mistake them for
// another owner's.
func TestResendAgainstAServer(t *testing.T) {
	const results = 4_000
	r := newRig(t, twoResultStreams)
	stream, subject := natsconn.OutStream("a", 0), natsconn.OutSubject("a", "Even", 0)
	var logged testlog.Buffer
	e := newEmitter(r.nc, stream, 0, 1, batchMessagesDefault, logged.Logger())
	e.newest = make([]result.Position, 1)
	e.refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
	messages := make([]message, results)
	for i := range messages {
		messages[i] = message{subject: subject, end: 2, at: position{seq: 3, ordinal: uint64(i)}}
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	asking := time.Duration(0) // the longest of a few requests: most answers come within it
	for range 20 {
		begun := time.Now()
		_, err := lastSequence(r.within(), r.nc, stream)
		must(t, err)
		asking = max(asking, time.Since(begun))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	middle, batches := 0, 0
	for rest := messages; len(rest) > 0; {
		e.after = asking/2 + time.Duration(random.Int64N(int64(2*asking)))
		some := rest[:min(len(rest), 1+random.IntN(batchMessagesDefault))]
		n, err := e.send(ctx, []byte("{}"), some[:batchLength(some, e.max)])
		if err != nil {
			t.Fatalf("seed %d: after %d of %d results: %v", seed, results-len(rest), results, err)
		}
		if batches++; n < batchLength(some, e.max) {
			middle++
		}
		rest = rest[n:]
	}
	t.Logf("of %d batches %d were given up too early, and %d were seen in the middle", batches, strings.Count(logged.String(), "trying on"), middle)
	next := uint64(0)
	must(t, output.Scan(ctx, r.js, stream, 1, e.last, func(seq uint64, _ string, h nats.Header) error {
		if want := (position{seq: 3, ordinal: next}).String(); h.Get(headerPosition) != want {
			return fmt.Errorf("seed %d: message %d is result %s, want %s", seed, seq, h.Get(headerPosition), want)
		}
		next++
		return nil
	}))
	if end, err := lastSequence(ctx, r.nc, stream); next != results || end != results || err != nil {
		t.Errorf("seed %d: %d results in %d messages, want %d each; %v", seed, next, end, results, err)
	}
}
