package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	stream  = "EFO_shop_0"
	subject = "out.shop.Totals.0"
)

// source is an output stream with results.
type source struct {
	t *testing.T
	bridge
	n int
}

func newSource(t *testing.T) *source {
	t.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	nc, err := natsconn.Connect(within(t), natsconn.ConnectConfig{Embedded: srv})
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	s := &source{t: t, bridge: bridge{js, stream, subject, 500 * time.Millisecond}}
	s.make()
	return s
}

func (s *source) make() {
	s.t.Helper()
	_, err := natsconn.EnsureOut(within(s.t), s.js, "shop", 0, natsconn.StreamLimits{})
	must(s.t, err)
}

// publish adds results.
func (s *source) publish(n int) {
	s.t.Helper()
	for range n {
		s.n++
		_, err := s.js.PublishMsg(within(s.t), &nats.Msg{Subject: subject, Data: fmt.Appendf(nil, `{"n":%d}`, s.n), Header: nats.Header{
			"Ef-Generation": {"1"}, "Ef-Position": {fmt.Sprintf("%d.0", s.n+1)}, "Ef-Kind": {"current"},
		}})
		must(s.t, err)
	}
}

// run copies until done, and then ends as a crash would.
func (s *source) run(to string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(within(s.t), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.copy(ctx, to) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case err := <-ended:
			s.t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		s.t.Fatal(err)
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file has each result once, in order, wherever the bridge ends.
func TestEachResultIsInTheFileOnce(t *testing.T) {
	s := newSource(t)
	name := filepath.Join(t.TempDir(), "totals.ndjson")
	lines := func() int {
		data, _ := os.ReadFile(name)
		return bytes.Count(data, []byte("\n"))
	}
	for round := range 4 {
		s.publish(10)
		s.run(name, func() bool { return lines() >= 10*round+3 })
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = file.WriteString(`{"sequence":99,"pla`) // a write that a crash has cut off
		must(t, errors.Join(err, file.Close()))
	}
	s.run(name, func() bool { return lines() == 40 })
	data, err := os.ReadFile(name)
	must(t, err)
	for i, text := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var l line
		must(t, json.Unmarshal([]byte(text), &l))
		if want := fmt.Sprintf(`{"n":%d}`, i+1); string(l.Row) != want || l.Place != fmt.Sprintf("1:%d.0", i+2) {
			t.Fatalf("line %d is %s", i+1, text)
		}
	}

	must(t, s.js.DeleteStream(within(t), stream))
	s.make()
	s.n = 100
	s.publish(41)
	if err := s.copy(within(t), name); err == nil || !strings.Contains(err.Error(), "the stream is another one") {
		t.Errorf("another stream of the same name: %v", err)
	}
}

// A server that handles each key once has each result once, in order, although requests fail and come
// again.
func TestEachResultIsHandledOnce(t *testing.T) {
	s := newSource(t)
	var mu sync.Mutex
	var handled []string
	keys, requests := map[string]bool{}, 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		requests++
		if requests%5 == 1 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		if key := r.Header.Get("Idempotency-Key"); !keys[key] {
			keys[key] = true
			handled = append(handled, body.String())
		}
		if requests%5 == 3 { // handled, but the answer does not arrive
			panic(http.ErrAbortHandler)
		}
	}))
	defer srv.Close()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(handled)
	}
	for round := range 3 {
		s.publish(4)
		s.run(srv.URL, func() bool { return count() >= 4*round+2 })
	}
	s.run(srv.URL, func() bool { return count() == 12 })
	var want []string
	for n := range 12 {
		want = append(want, fmt.Sprintf(`{"n":%d}`, n+1))
	}
	if !slices.Equal(handled, want) {
		t.Errorf("handled %v", handled)
	}
}
