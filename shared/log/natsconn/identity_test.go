package natsconn

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A client proves who it is by a token or a password, in a file or from a context.
func TestIdentityByTokenOrPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		opts server.Options
		who  ConnectConfig
		good bool
	}{
		{"token in a file", server.Options{Authorization: "secret"}, ConnectConfig{TokenFile: file}, true},
		{"token", server.Options{Authorization: "secret"}, ConnectConfig{Token: "secret"}, true},
		{"wrong token", server.Options{Authorization: "secret"}, ConnectConfig{Token: "other"}, false},
		{"password", server.Options{Username: "me", Password: "secret"}, ConnectConfig{User: "me", Password: "secret"}, true},
		{"password in a file", server.Options{Username: "me", Password: "secret"}, ConnectConfig{User: "me", PasswordFile: file}, true},
	} {
		c.opts.Host, c.opts.Port, c.opts.NoSigs, c.opts.NoLog = "127.0.0.1", -1, true, true
		srv, err := server.NewServer(&c.opts)
		if err != nil {
			t.Fatal(err)
		}
		go srv.Start()
		if !srv.ReadyForConnections(time.Minute) {
			t.Fatal("the server does not start")
		}
		opts, err := c.who.Identity()
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(srv.ClientURL(), opts...)
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.what, err)
		}
		if err == nil {
			nc.Close()
		}
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}
