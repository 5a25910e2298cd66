package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Results whose publish got no answer, or a bad one, are sent again as they were until the
// stream's end tells that they are there, or that they are another owner's.
func TestResend(t *testing.T) {
	const (
		taken   = `{"stream":"EFO_a_0","seq":8}`
		refusal = `{"stream":"EFO_a_0","error":{"code":400,"err_code":10071,"description":"wrong last sequence: 8"}}`
		ours    = "Ef-Position: 3.0\r\nEf-Generation: 1"
		silence = ""
	)
	for name, c := range map[string]struct {
		acks    []string // of publishes
		ends    []string // answers to who asks for the end of the stream
		newest  string   // headers of the message there
		sent    int64
		refused float64
		err     error
	}{
		"taken":                              {acks: []string{taken}, sent: 1},
		"nobody answers for a while":         {acks: []string{silence, silence, taken}, ends: []string{silence, silence}, sent: 3},
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
			e.after = 2 * time.Second // a busy machine answers within that
			e.refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
