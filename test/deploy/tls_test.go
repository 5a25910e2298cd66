package deploy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/pki"
)

// reissue replaces a server's certificate with one of another authority, valid for the given time.
func reissue(t *testing.T, secrets, name string, ca *pki.Authority, valid time.Duration) {
	t.Helper()
	pair, err := ca.Issue(name, []string{"127.0.0.1"}, time.Now().Add(valid))
	must(t, err)
	for file, data := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key} {
		must(t, os.WriteFile(filepath.Join(secrets, name, file), data, 0o600))
	}
}

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	ca, err := pki.NewAuthority("another", time.Now().Add(time.Hour))
	must(t, err)
	return ca
}

// connect connects as a service does. It gives up after a second.
func connect(t *testing.T, url string, cfg natsconn.ConnectConfig) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	cfg.URL, cfg.Log = url, slog.New(slog.DiscardHandler)
	nc, err := natsconn.Connect(ctx, cfg)
	if err == nil {
		nc.Close()
	}
	return err
}

// A client without a user's key is refused with an error.
func TestWrongKey(t *testing.T) {
	secrets := keys(t)
	srv := alone(t, secrets)
	ca := filepath.Join(secrets, "ingest/ca.crt")
	stranger, err := nkeys.CreateUser()
	must(t, err)
	seed, err := stranger.Seed()
	must(t, err)
	wrong := filepath.Join(t.TempDir(), "user.nk")
	must(t, os.WriteFile(wrong, seed, 0o600))

	for _, c := range []struct {
		name, key, want string
	}{
		{"the user's key", filepath.Join(secrets, "ingest/user.nk"), ""},
		{"a stranger's key", wrong, "Authorization Violation"},
		{"no key", "", "Authorization Violation"},
	} {
		err := connect(t, "tls://"+srv.listen(), natsconn.ConnectConfig{CAFile: ca, NKeyFile: c.key})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want))) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := nats.Connect("tls://"+srv.listen(), nats.RootCAs(ca), nats.UserInfo("ingest", "guess")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a name and a password: %v", err)
	}
}

// A service does not talk to a server that cannot prove its identity.
func TestWrongServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		ca    *pki.Authority // nil: the authority of the cluster
		valid time.Duration
		host  string
		want  string
	}{
		{"foreign authority", authority(t), time.Hour, "nats-1", "unknown authority"},
		{"expired", nil, -time.Minute, "nats-1", "expired"},
	} {
		secrets := keys(t)
		ca := c.ca
		if ca == nil {
			ca = authority(t)
			own, err := ca.Pair()
			must(t, err)
			for _, role := range []string{"nats-1", "ingest"} {
				must(t, os.WriteFile(filepath.Join(secrets, role, "ca.crt"), own.Cert, 0o600))
			}
		}
		reissue(t, secrets, c.host, ca, c.valid)
		srv := alone(t, secrets)
		for _, scheme := range []string{"tls://", "nats://"} {
			err := connect(t, scheme+srv.listen(), natsconn.ConnectConfig{
				CAFile: filepath.Join(secrets, "ingest/ca.crt"), NKeyFile: filepath.Join(secrets, "ingest/user.nk"),
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v", c.name, scheme, err)
			}
		}
	}
}

// With nats.ca set, a service never talks to a server without TLS, whatever the URL says: that
// server would read what the service sends.
func TestNoTLSOnTheOtherSide(t *testing.T) {
	secrets := keys(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	heard := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, `INFO {"server_id":"x","version":"2.15.2","nonce":"abc","max_payload":1048576}`+"\r\n")
			line, _ := bufio.NewReader(c).ReadString('\n')
			heard <- line
			_ = c.Close()
		}
	}()
	err = connect(t, "nats://"+l.Addr().String(), natsconn.ConnectConfig{
		CAFile: filepath.Join(secrets, "ingest/ca.crt"), NKeyFile: filepath.Join(secrets, "ingest/user.nk"),
	})
	if err == nil {
		t.Error("it is talked to")
	}
	if line := <-heard; line != "" { // at least one attempt
		t.Errorf("it was sent %q", line)
	}
}

// A client without TLS gets only the greeting, and the route port accepts only clients with a
// certificate of the cluster's authority.
func TestPlainTextAndForeignRoutes(t *testing.T) {
	secrets := keys(t)
	srv := alone(t, secrets)
	c, err := net.Dial("tcp", srv.listen())
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	in := bufio.NewReader(c)
	greeting, err := in.ReadString('\n')
	must(t, err)
	if !strings.Contains(greeting, `"tls_required":true`) {
		t.Errorf("%s", greeting)
	}
	_, err = io.WriteString(c, "CONNECT {\"verbose\":true}\r\nPING\r\n")
	must(t, err)
	rest, _ := io.ReadAll(in)
	if strings.Contains(string(rest), "OK") || strings.Contains(string(rest), "PONG") {
		t.Errorf("plain text is answered: %q", rest)
	}

	foreign, err := authority(t).Issue("nats-2", nil, time.Now().Add(time.Hour))
	must(t, err)
	pair, err := tls.X509KeyPair(foreign.Cert, foreign.Key)
	must(t, err)
	strangers := map[string]*tls.Config{
		"no certificate":        {InsecureSkipVerify: true},
		"a foreign certificate": {InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}},
	}
	// A client that is accepted as a route has the rights of all users.
	for _, role := range []string{"checkpointer-1", "redis"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(secrets, role, "tls.crt"), filepath.Join(secrets, role, "tls.key"))
		must(t, err)
		strangers[role] = &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	}
	for name, config := range strangers {
		if reply, err := route(t, srv.env["NATS_CLUSTER"], config); err == nil {
			t.Errorf("%s is let in as a server: %q", name, reply)
		}
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(secrets, "nats-2/tls.crt"), filepath.Join(secrets, "nats-2/tls.key"))
	must(t, err)
	if _, err := route(t, srv.env["NATS_CLUSTER"], &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}); err != nil {
		t.Errorf("a server of the cluster is refused: %v", err)
	}
}

// route connects as another server does, and returns what the server sends after the handshake.
func route(t *testing.T, address string, config *tls.Config) (string, error) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	secured := tls.Client(c, config)
	if err := secured.Handshake(); err != nil {
		return "", err
	}
	return bufio.NewReader(secured).ReadString('\n')
}
