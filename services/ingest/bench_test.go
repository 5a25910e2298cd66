package ingest

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const benchApp = `@app:name('a') define stream Flights (time long, origin string, destination string, delay int, distance int);
	from Flights select origin insert into Out;`

// Publisher, server and ingest share the processors, as they do in one process.
func BenchmarkIngest(b *testing.B) {
	lines := flightLines(b)
	for _, c := range []struct {
		name       string
		durability natsconn.Durability
		perMessage int
		publish    func(*testing.B, *rig, [][]byte)
	}{
		{"durable/1/silent", natsconn.Durable, 1, publishSilent},
		{"durable/1/acked", natsconn.Durable, 1, publishAcked},
		{"durable/1/jetstream", natsconn.Durable, 1, publishJetStream},
		{"durable/100/acked", natsconn.Durable, 100, publishAcked},
		{"durable/100/silent", natsconn.Durable, 100, publishSilent},
		{"fast/1/acked", natsconn.Fast, 1, publishAcked},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := startAt(b, c.durability, func(cfg *Config) { cfg.Now = nil }, benchApp)
			var messages [][]byte
			for i := 0; i+c.perMessage <= len(lines); i += c.perMessage {
				messages = append(messages, bytes.Join(lines[i:i+c.perMessage], []byte("\n")))
			}
			b.ReportAllocs()
			b.ResetTimer()
			c.publish(b, r, messages)
			b.StopTimer()
			r.end()
			info := r.svc.Info()
			if info.Dropped+info.Overload+info.Refused > 0 {
				b.Logf("%+v", info)
			}
			events := float64(info.Accepted)
			b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(100*events/float64(b.N*c.perMessage), "%kept")
			if s := r.svc.all()[0].logs[0].stats(); s.Frames > 0 {
				b.ReportMetric(float64(s.Rows)/float64(s.Frames), "events/frame")
			}
		})
	}
}

func flightLines(b *testing.B) [][]byte {
	data, err := os.ReadFile("../../examples/data/flights.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
}

// publishSilent publishes without reply subjects, and waits for a last request. NATS may lose
// some messages, and even that request.
func publishSilent(b *testing.B, r *rig, messages [][]byte) {
	for i := range b.N {
		if err := r.pub.Publish("events.Flights", messages[i%len(messages)]); err != nil {
			b.Fatal(err)
		}
	}
	for {
		if _, err := r.pub.Request("events.Nobody", nil, time.Second); err == nil {
			return
		}
	}
}

// publishAcked keeps a number of messages in flight, as cheaply as a client can.
func publishAcked(b *testing.B, r *rig, messages [][]byte) {
	const window = 8192
	slots := make(chan struct{}, window)
	inbox := r.pub.NewInbox()
	var all sync.WaitGroup
	sub, err := r.pub.Subscribe(inbox, func(m *nats.Msg) {
		if !bytes.HasPrefix(m.Data, []byte(`{"stream":"EFW_a_0","seq":`)) {
			b.Errorf("answer %s", m.Data)
		}
		<-slots
		all.Done()
	})
	if err != nil {
		b.Fatal(err)
	}
	all.Add(b.N)
	for i := range b.N {
		slots <- struct{}{}
		if err := r.pub.PublishRequest("events.Flights", inbox, messages[i%len(messages)]); err != nil {
			b.Fatal(err)
		}
	}
	all.Wait()
	if err := sub.Unsubscribe(); err != nil {
		b.Fatal(err)
	}
}

// publishJetStream does the same with the JetStream client.
func publishJetStream(b *testing.B, r *rig, messages [][]byte) {
	js, err := jetstream.New(r.pub, jetstream.WithPublishAsyncMaxPending(8192))
	if err != nil {
		b.Fatal(err)
	}
	defer js.CleanupPublisher()
	for i := range b.N {
		for {
			_, err := js.PublishAsync("events.Flights", messages[i%len(messages)])
			if err == nil {
				break
			}
			b.Log(fmt.Errorf("event %d: %w", i, err))
		}
	}
	<-js.PublishAsyncComplete()
}

// The results of another app, a row each, from its stream into the log.
func BenchmarkResults(b *testing.B) {
	for _, d := range []natsconn.Durability{natsconn.Durable, natsconn.Fast} {
		b.Run(d.String(), func(b *testing.B) {
			r := start(b, nil, nextApp)
			r.end()
			r.outStream(0)
			for i := range b.N {
				m := nats.NewMsg("out.first.Mid.0")
				m.Header = nats.Header{"Ef-Position": {fmt.Sprint(i+1, ".0")}, "Ef-Generation": {"1"}, "Ef-Timestamp": {"1700000000000"}}
				m.Data = []byte(`{"n":12345}`)
				if _, err := r.js.PublishMsgAsync(m); err != nil {
					b.Fatal(err)
				}
			}
			<-r.js.PublishAsyncComplete()
			r.at.Durability = d
			r.restart()
			b.ResetTimer()
			r.begin(nil, nextApp)
			r.acked(0)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "results/s")
			r.end()
		})
	}
}
