package wal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// flightsFile has the real flights.
const flightsFile = "../../../examples/data/flights.ndjson"

type row struct {
	Time        int64
	Origin      string
	Destination string
	Delay       int64
	Distance    int64
}

// loadFlights returns the real flights as rows, and each as JSON.
func loadFlights(b *testing.B) (*event.Batch, [][]byte) {
	b.Helper()
	data, err := os.ReadFile(flightsFile)
	if err != nil {
		b.Fatal(err)
	}
	batch := event.NewBatch(flight)
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	for _, line := range lines {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			b.Fatal(err)
		}
		batch.Cols[0].AppendInt(r.Time)
		batch.Cols[1].AppendText(r.Origin)
		batch.Cols[2].AppendText(r.Destination)
		batch.Cols[3].AppendInt(r.Delay)
		batch.Cols[4].AppendInt(r.Distance)
		batch.TS = append(batch.TS, r.Time)
	}
	return batch, lines
}

// BenchmarkWAL appends real flights and waits until all are durable: in frames on
// JetStream, in the same frames to a plain file, and with a JetStream message per
// event. All of them sync to disk before they acknowledge.
func BenchmarkWAL(b *testing.B) {
	flights, lines := loadFlights(b)
	for _, to := range []struct {
		name string
		run  func(*testing.B) *Writer
	}{{"nats", natsWriter}, {"file", fileWriter}} {
		b.Run(to.name+"/single", func(b *testing.B) { appendAll(b, to.run(b), flights, 1) })
		b.Run(to.name+"/batch=1000", func(b *testing.B) { appendAll(b, to.run(b), flights, 1000) })
		b.Run(to.name+"/lone", func(b *testing.B) { appendLone(b, to.run(b), flights) })
	}
	b.Run("message-per-event", func(b *testing.B) { publishEach(b, lines) })
}

func appendAll(b *testing.B, w *Writer, flights *event.Batch, size int) {
	b.ReportAllocs()
	var last Future
	m := Message{Batch: flights}
	for n := 0; n < b.N; n += size {
		m.From = n % (flights.Len() - size + 1)
		m.To = m.From + size
		m.Arrived = flights.TS[0] + int64(n>>10)
		f, err := w.AppendFuture(&m)
		for errors.Is(err, ErrFull) {
			if err := w.AwaitSpace(context.Background()); err != nil {
				b.Fatal(err)
			}
			f, err = w.AppendFuture(&m)
		}
		if err != nil {
			b.Fatal(err)
		}
		last = f
	}
	if _, err := last.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := w.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	s := w.Stats()
	b.ReportMetric(float64(s.Rows)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(s.Rows)/float64(s.Frames), "events/frame")
	b.ReportMetric(float64(s.Bytes)/float64(s.Rows), "B/event")
}

// appendLone waits for each event, so that each is a frame: the latency.
func appendLone(b *testing.B, w *Writer, flights *event.Batch) {
	for n := range b.N {
		i := n % flights.Len()
		f, err := w.AppendFuture(&Message{Batch: flights, From: i, To: i + 1, Arrived: flights.TS[0]})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Wait(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	if err := w.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func natsWriter(b *testing.B) *Writer {
	nc := embeddedConn(b)
	ensureWAL(b, nc, natsconn.StreamLimits{})
	w := runWriter(b, WriterConfig{Conn: nc})
	b.ResetTimer()
	return w
}

// fileWriter returns a writer whose frames go to a file.
func fileWriter(b *testing.B) *Writer {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	w := newWriter(b, WriterConfig{Conn: embeddedConn(b)})
	w.running = true
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		unsent, err := w.loop(context.Background(), &fileCarrier{file: f})
		w.end(unsent, errors.Join(ErrClosed, err))
	}()
	b.Cleanup(func() {
		<-ended
		if err := f.Close(); err != nil {
			b.Error(err)
		}
	})
	b.ResetTimer()
	return w
}

// fileCarrier writes and syncs beside the writer, as a server does.
type fileCarrier struct {
	file *os.File
	seq  uint64
	done chan error
}

func (c *fileCarrier) begin(g *group) {
	c.done = make(chan error, 1)
	go func() {
		_, err := c.file.Write(g.encoded)
		c.done <- errors.Join(err, c.file.Sync())
	}()
}

func (c *fileCarrier) await(context.Context) (uint64, error) {
	c.seq++
	return c.seq, <-c.done
}

func embeddedConn(b *testing.B) *nats.Conn {
	b.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: b.TempDir(), Durability: natsconn.Durable, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := srv.Close(); err != nil {
			b.Error(err)
		}
	})
	return connectTo(b, natsconn.ConnectConfig{Embedded: srv})
}

func publishEach(b *testing.B, lines [][]byte) {
	nc := embeddedConn(b)
	ensureWAL(b, nc, natsconn.StreamLimits{})
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := range b.N {
		if _, err := js.PublishAsync(natsconn.WALSubject("app", 0), lines[n%len(lines)], jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReader reads frames of 64 KiB from the beginning to the tail.
func BenchmarkReader(b *testing.B) {
	nc := embeddedConn(b)
	ensureWAL(b, nc, natsconn.StreamLimits{})
	js := jetStream(b, nc)
	const frames, size = 2000, 64 << 10
	for range frames {
		if _, err := js.Publish(within(b), natsconn.WALSubject("app", 0), make([]byte, size)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(frames * size)
	for b.Loop() {
		r, err := OpenReader(within(b), ReaderConfig{JS: js, Stream: natsconn.WALStream("app", 0), From: 1, Log: quiet})
		if err != nil {
			b.Fatal(err)
		}
		for !r.AtTail() {
			if _, err := r.Next(within(b)); err != nil {
				b.Fatal(err)
			}
		}
		r.Close()
	}
}
