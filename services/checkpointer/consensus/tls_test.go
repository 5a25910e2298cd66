package consensus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/ops/pki"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

// authority signs the certificates of a test.
type authority struct {
	*pki.Authority
	t    *testing.T
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a, err := pki.NewAuthority("test", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	own, err := a.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return &authority{a, t, file(t, "ca.crt", own.Cert)}
}

func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// member returns the files of a member. Its certificate expires after valid.
func (a *authority) member(id string, valid time.Duration) *TLS {
	a.t.Helper()
	pair, err := a.Issue(id, nil, time.Now().Add(valid))
	if err != nil {
		a.t.Fatal(err)
	}
	return &TLS{CAFile: a.file, CertFile: file(a.t, "tls.crt", pair.Cert), KeyFile: file(a.t, "tls.key", pair.Key)}
}

// A group elects, applies and hands over with TLS as without it, and a certificate is
// renewed by replacing its file.
func TestGroupOverTLS(t *testing.T) {
	ca := newAuthority(t)
	files := map[string]*TLS{}
	nodes, lists := groupOf(t, 3, func(c *Config) {
		c.TLS = ca.member(c.ID, time.Hour)
		files[c.ID] = c.TLS
	})
	onLeader(t, nodes, func(leader int) error { return applied(t, nodes[leader], "one") })
	for id, f := range files {
		renewed := ca.member(id, time.Hour)
		for from, to := range map[string]string{renewed.CertFile: f.CertFile, renewed.KeyFile: f.KeyFile} {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	onLeader(t, nodes, func(leader int) error {
		return nodes[leader].Transfer(within(t), nodes[(leader+1)%3].ID())
	})
	onLeader(t, nodes, func(leader int) error { return applied(t, nodes[leader], "two") })
	for i, n := range nodes {
		for ctx := within(t); !slices.Contains(lists[i].all(), "two"); <-time.After(5 * time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("member %d has %q", i, lists[i].all())
			}
		}
		defer closed(t, n)
	}
}

// listener opens one member of a group of two without the other, and returns its log.
func listener(t *testing.T, ca *authority) (address string, log *testlog.Buffer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, log = l.Addr().String(), &testlog.Buffer{}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := Open(Config{
		ID: "n0", Dir: t.TempDir(), Listen: address, FSM: &list{}, Log: slog.New(slog.NewTextHandler(log, nil)),
		Peers: []Peer{{"n0", address}, {"n1", "127.0.0.1:1"}}, TLS: ca.member("n0", time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, n) })
	return address, log
}

// knock connects with the files of a member, and returns the error. A member that is let in
// gets no answer until it has sent a request.
func knock(t *testing.T, address string, files *TLS, protocol string) error {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}
	if files != nil {
		pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestStrangersAreRefused(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	address, log := listener(t, ca)
	if err := knock(t, address, ca.member("n1", time.Hour), alpn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a member is refused: %v\n%s", err, log)
	}
	for _, c := range []struct {
		name     string
		files    *TLS
		protocol string
		reason   string
	}{
		{"no member", ca.member("n7", time.Hour), alpn, "is not a member of the group"},
		{"foreign authority", foreign.member("n1", time.Hour), alpn, "unknown authority"},
		{"expired", ca.member("n1", -time.Minute), alpn, "expired"},
		{"no certificate", nil, alpn, "didn't provide a certificate"},
		{"another protocol", ca.member("n1", time.Hour), "h2", "protocol"},
	} {
		if err := knock(t, address, c.files, c.protocol); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: let in: %v", c.name, err)
		}
		waitFor(t, c.name, log, c.reason)
	}
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write([]byte("\x03plain text of Raft, as it once was")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "plain text", log, "does not look like a TLS handshake")
	if _, err := io.Copy(io.Discard, plain); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("plain text: %v", err)
	}
}

// waitFor waits until the log contains the reason.
func waitFor(t *testing.T, name string, log *testlog.Buffer, reason string) {
	t.Helper()
	for ctx := within(t); !strings.Contains(log.String(), reason); <-time.After(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("%s: the log has no %q:\n%s", name, reason, log)
		}
	}
}

// A peer that is slow with the handshake does not delay other connections.
func TestSilentStrangerDelaysNoOthers(t *testing.T) {
	ca := newAuthority(t)
	address, log := listener(t, ca)
	for range 50 {
		silent, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	if err := knock(t, address, ca.member("n1", time.Hour), alpn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a member is refused: %v\n%s", err, log)
	}
}

// A member talks only to the member that it wants, not to an impostor at its address.
func TestImpostorsAreNotTalkedTo(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name   string
		files  *TLS // nil: plain text
		reason string
	}{
		{"the member", ca.member("n1", time.Hour), ""},
		{"another member", ca.member("n0", time.Hour), "is not the member at"},
		{"foreign authority", foreign.member("n1", time.Hour), "unknown authority"},
		{"expired", ca.member("n1", -time.Minute), "expired"},
		{"plain text", nil, "first record does not look like a TLS handshake"},
	} {
		l := impostor(t, c.files)
		address := l.Addr().String()
		g := &guard{
			files: *ca.member("n0", time.Hour), id: "n0", log: quiet,
			members: func() map[string]string { return map[string]string{"n0": "127.0.0.1:1", "n1": address} },
		}
		s, err := newStream("127.0.0.1:0", "", g)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := s.Dial(raft.ServerAddress(address), 5*time.Second)
		switch {
		case c.reason == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)):
			t.Errorf("%s: talked to, or for another reason: %v", c.name, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
		if err := errors.Join(s.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
}

// impostor accepts connections with a certificate, or answers in plain text.
func impostor(t *testing.T, files *TLS) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var config *tls.Config
	if files != nil {
		pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{alpn}, ClientAuth: tls.RequireAnyClientCert}
	}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	serving.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if config == nil {
			_, _ = c.Write([]byte("hello, this is plain text\n"))
			return
		}
		_ = tls.Server(c, config).HandshakeContext(context.Background()) // the other side tells
	})
	return l
}

// Open refuses wrong files, and the error names the setting.
func TestOpenChecksTheFiles(t *testing.T) {
	ca := newAuthority(t)
	good := ca.member("n0", time.Hour)
	junk := file(t, "junk", []byte("junk"))
	for want, files := range map[string]TLS{
		"must be set together":                {CAFile: good.CAFile, CertFile: good.CertFile},
		"raft.ca: no certificate":             {junk, good.CertFile, good.KeyFile},
		"raft.cert and raft.key":              {good.CAFile, junk, good.KeyFile},
		`to ["n9" "n9"], but raft.id is "n0"`: *ca.member("n9", time.Hour),
	} {
		n, err := Open(Config{ID: "n0", Dir: t.TempDir(), Listen: "127.0.0.1:0", FSM: &list{}, Log: quiet, TLS: &files})
		if err == nil {
			closed(t, n)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if got := idsOf(&x509.Certificate{DNSNames: []string{"a"}}); len(got) != 1 {
		t.Errorf("%q", got)
	}
}
