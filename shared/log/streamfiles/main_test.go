package streamfiles

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/witness"
)

const (
	walStream = "EFW_A_0"
	outStream = "EFO_A_0"
	messages  = 40
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running starts a server on a folder, for the time of fn.
func running(t *testing.T, dir string, fn func(ctx context.Context, js jetstream.JetStream)) {
	t.Helper()
	server, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: dir, StoreBytesMax: 1 << 30})
	must(t, err)
	defer func() { must(t, server.Close()) }()
	nc, err := nats.Connect("", nats.InProcessServer(server))
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	fn(ctx, js)
}

// body is a message that ends in its checksum, as a frame does.
func body(i int) []byte {
	return binary.LittleEndian.AppendUint32(fmt.Appendf(nil, "frame %d ", i), uint32(1000+i))
}

// chosenSeq is the sequence of a result whose subject the app has chosen.
const chosenSeq = 3

// filled returns a folder with the streams of app A, and when its log was made. killed has the
// files as a killed server leaves them, without an index of the end.
func filled(t *testing.T, killed bool) (dir string, end witness.End) {
	t.Helper()
	from := t.TempDir()
	dir = from
	running(t, from, func(ctx context.Context, js jetstream.JetStream) {
		_, err := natsconn.EnsureApp(ctx, js, "A", 1, natsconn.StreamLimits{}, func(uint32) string { return "chosen.*" })
		must(t, err)
		for i := range messages {
			subject := natsconn.WALSubject("A", 0)
			if i == 0 { // a log starts with its deploy frame
				subject = natsconn.DeploySubject("A", 0)
			}
			_, err := js.Publish(ctx, subject, body(i+1))
			must(t, err)
			if i == 0 {
				must(t, natsconn.OpenWAL(ctx, js, "A", 0, 0))
			}
			m := nats.NewMsg(natsconn.OutSubject("A", "Out", 0))
			m.Header.Set("Ef-Position", fmt.Sprintf("%d.0", i+1))
			if i%3 == 2 { // as chosenSeq is: the app has chosen its subject
				m.Subject = fmt.Sprintf("chosen.%d", i)
				m.Header.Set(output.HeaderStream, "Chosen")
			}
			m.Data = fmt.Appendf(nil, `{"n":%d}`, i+1)
			_, err = js.PublishMsg(ctx, m)
			must(t, err)
		}
		log, err := js.Stream(ctx, walStream)
		must(t, err)
		end = witness.End{Created: log.CachedInfo().Created, Seq: messages, CRC: 1000 + messages, Boot: 1}
		_, err = js.CreateOrUpdateConsumer(ctx, outStream, jetstream.ConsumerConfig{Durable: "reader"})
		must(t, err)
		if killed {
			dir = t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(from)))
		}
	})
	return dir, end
}

func config(t *testing.T, dir string, end witness.End) Config {
	t.Helper()
	return Config{Dir: dir, Aside: filepath.Join(t.TempDir(), "damaged"), Ends: map[string]witness.End{walStream: end}, Boot: 1}
}

func streamDir(dir, stream string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", stream)
}

// sequences returns what a reader gets of a stream.
func sequences(t *testing.T, ctx context.Context, js jetstream.JetStream, stream string) (seqs []uint64, last uint64) {
	t.Helper()
	s, err := js.Stream(ctx, stream)
	must(t, err)
	state := s.CachedInfo().State
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	must(t, err)
	for range state.Msgs {
		m, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
		must(t, err)
		meta, err := m.Metadata()
		must(t, err)
		seqs = append(seqs, meta.Sequence.Stream)
	}
	return seqs, state.LastSeq
}

// contents returns all files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	}))
	return files
}
