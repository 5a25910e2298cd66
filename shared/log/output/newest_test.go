package output

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// The newest results are those of the record and of what comes after it. Neither results
// that were removed nor a new generation changes that.
func TestNewest(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	server, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Log: quiet})
	must(t, err)
	defer server.Close()
	nc, err := natsconn.Connect(ctx, natsconn.ConnectConfig{Embedded: server, Log: quiet})
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	stream, err := natsconn.EnsureOut(ctx, js, "a", 0, natsconn.StreamLimits{})
	must(t, err)
	p := Partition{App: "a", Streams: []string{"Even", "Odd", "Never"}}
	publish := func(subject string, data []byte, h nats.Header) uint64 {
		t.Helper()
		ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data, Header: h})
		must(t, err)
		return ack.Sequence
	}
	put := func(stream string, generation, seq int) uint64 {
		return publish(natsconn.OutSubject("a", stream, 0), nil, nats.Header{HeaderGeneration: {fmt.Sprint(generation)}, HeaderPosition: {fmt.Sprint(seq, ".0")}})
	}
	fence := func(f Fence) uint64 {
		data, err := json.Marshal(f)
		must(t, err)
		return publish(natsconn.FenceSubject("a", 0), data, nil)
	}
	newest := func(want string) {
		t.Helper()
		info, err := stream.Info(ctx)
		must(t, err)
		got, err := p.Newest(ctx, nc, js, info.State.LastSeq)
		must(t, err)
		if fmt.Sprint(got) != want {
			t.Errorf("newest results are %v, want %s", got, want)
		}
	}
	newest("map[]")
	fence(Fence{Generation: 1, Positions: map[string]string{"Odd": "5.0"}}) // as releases before 1.0 wrote it
	put("Even", 1, 2)
	newest("map[Even:1:2.0 Odd:1:5.0]")
	r := Record{Newest: map[string]result.Position{"Even": {Generation: 1, Seq: 2}, "Odd": {Generation: 1, Seq: 5}}, Through: 2}
	through := fence(NewFence("me", "", 2, r))
	must(t, stream.Purge(ctx, jetstream.WithPurgeSequence(through)))
	newest("map[Even:1:2.0 Odd:1:5.0]")
	put("Even", 2, 7)
	newest("map[Even:2:7.0 Odd:1:5.0]")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
