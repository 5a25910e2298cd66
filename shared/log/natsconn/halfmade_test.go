package natsconn

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// A server that is killed while it makes a stream leaves a folder that it ignores at every
// start. Data that was stored since must still be there.
func TestHalfMadeStreamIsCompleted(t *testing.T) {
	for name, spoil := range map[string]func(sum string) error{
		"no checksum":    os.Remove,
		"other checksum": func(sum string) error { return os.WriteFile(sum, []byte("0123456789abcdef"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			session := func(do func(js jetstream.JetStream)) {
				t.Helper()
				e := openEmbedded(t, EmbeddedConfig{Dir: dir})
				js := connect(t, ConnectConfig{Embedded: e})
				do(js)
				js.Conn().Close()
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
			}
			publish := func(js jetstream.JetStream) {
				t.Helper()
				_, err := EnsureWAL(within(t), js, "app", 0, StreamLimits{})
				if err == nil {
					_, err = js.Publish(within(t), WALSubject("app", 0), []byte("x"))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			session(publish)
			if err := spoil(filepath.Join(dir, "jetstream", "$G", "streams", "EFW_app_0", "meta.sum")); err != nil {
				t.Fatal(err)
			}
			session(publish)
			session(func(js jetstream.JetStream) {
				stream, err := js.Stream(within(t), "EFW_app_0")
				if err != nil {
					t.Fatal(err)
				}
				if n := stream.CachedInfo().State.Msgs; n != 2 {
					t.Errorf("%d messages, want 2", n)
				}
			})
		})
	}
}
