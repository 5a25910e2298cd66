package natsconn

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An error says that a permission or JetStream is missing, and what to do.
func TestRefusedRequestsSayWhy(t *testing.T) {
	accounts := filepath.Join(t.TempDir(), "accounts.conf")
	if err := os.WriteFile(accounts, []byte(`accounts {
		SHOP { jetstream: enabled, users: [ { user: events, password: x, permissions: { publish: "events.>" } } ] }
		NONE { users: [ { user: none, password: x } ] }
	}`), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(accounts)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	for _, c := range []struct {
		user, want string
		off        bool
	}{
		{"events", `Permissions Violation for Publish to "$JS.API.STREAM.NAMES"; deploy/nats/auth.conf has the permissions`, false},
		{"none", "EventFlux needs JetStream in the account of this user: turn it on there", true},
	} {
		nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo(c.user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(within(t), time.Second)
		names := js.StreamNames(ctx)
		for range names.Name() {
			t.Error("there is a stream")
		}
		cancel()
		err = Refused(nc, names.Err())
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNoJetStream) != c.off {
			t.Errorf("user %q: %v, want %q", c.user, err, c.want)
		}
	}
}

// A file that is no .creds file is refused at once, before a client tries to connect with it.
func TestCredsFilesAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user.creds")
	connect := func() error {
		_, err := Connect(within(t), ConnectConfig{URL: "nats://127.0.0.1:1", CredsFile: file, Log: slog.New(slog.DiscardHandler)})
		return err
	}
	if err := connect(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(file, []byte("user: a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := connect(); err == nil || !strings.Contains(err.Error(), "user.creds is no .creds file") {
		t.Errorf("a file of another kind: %v", err)
	}
}
