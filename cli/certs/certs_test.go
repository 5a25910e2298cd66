package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var seed = regexp.MustCompile(`\bSU[A-Z2-7]{56}\b`)

func made(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	cfg := Config{Dir: dir, Servers: 2, Checkpointers: 3, Hosts: []string{"nats.example.com", "10.0.0.5"}, Valid: time.Hour}
	if err := Make(cfg); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every process gets its own secrets and no others, and only the owner can read them.
func TestWhoGetsWhat(t *testing.T) {
	dir := made(t)
	server := []string{"ca.crt", "keys.conf", "servers.conf", "tls.crt", "tls.key"}
	member := []string{"ca.crt", "store.password", "tls.crt", "tls.key", "user.nk"}
	user := []string{"ca.crt", "user.nk"}
	withStore := []string{"ca.crt", "store.password", "user.nk"}
	want := map[string][]string{
		"authority": {"tls.crt", "tls.key"}, "nats-1": server, "nats-2": server,
		"checkpointer-1": member, "checkpointer-2": member, "checkpointer-3": member,
		"ingest": user, "processor": withStore, "merger": withStore, "recovery": withStore,
		"operator": user, "publisher": user, "subscriber": user, "reader": user,
		"redis": {"ca.crt", "tls.crt", "tls.key", "users.acl"},
	}
	got := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		public := strings.HasSuffix(path, ".crt") || strings.HasSuffix(path, ".conf")
		if secret := info.Mode().Perm() == 0o600; secret == public {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		if public && (bytes.Contains(read(t, path), []byte("PRIVATE")) || seed.Match(read(t, path))) {
			t.Errorf("%s has a secret", path)
		}
		role := filepath.Base(filepath.Dir(path))
		got[role] = append(got[role], filepath.Base(path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for role, files := range want {
		if !slices.Equal(got[role], files) {
			t.Errorf("%s has %q, want %q", role, got[role], files)
		}
		delete(got, role)
	}
	if len(got) > 0 {
		t.Errorf("more than wanted: %q", got)
	}
	if !seed.Match(read(t, dir, "ingest", seedFile)) {
		t.Error("a seed does not look like one")
	}
	password := bytes.TrimSpace(read(t, dir, "processor", passwordFile))
	if len(password) != 64 || bytes.Contains(read(t, dir, "redis", aclFile), password) {
		t.Error("the password is short, or in the clear where Redis has it")
	}
}

// Certificates are valid for the names that their owners are reached by.
func TestCertificates(t *testing.T) {
	dir := made(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, dir, authority, certFile))
	for role, hosts := range map[string][]string{
		"nats-2":         {"nats-2", "localhost", "127.0.0.1", "nats.example.com", "10.0.0.5"},
		"checkpointer-3": {"checkpointer-3"},
		"redis":          {"redis", "nats.example.com"},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, role, certFile), filepath.Join(dir, role, keyFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: h}); err != nil {
				t.Errorf("%s as %s: %v", role, h, err)
			}
		}
		if pair.Leaf.VerifyHostname("nats-1") == nil {
			t.Errorf("%s passes for nats-1", role)
		}
	}
}

// Existing keys are never replaced, neither complete ones nor half of a set.
func TestNothingIsOverwritten(t *testing.T) {
	dir := made(t)
	before := read(t, dir, "ingest", seedFile)
	cfg := Config{Dir: dir, Servers: 1, Checkpointers: 1, Valid: time.Hour}
	if err := Make(cfg); !errors.Is(err, ErrExists) || !Made(dir) {
		t.Errorf("made again: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, authority, certFile)); err != nil {
		t.Fatal(err)
	}
	if err := Make(cfg); !errors.Is(err, ErrExists) || Made(dir) {
		t.Errorf("half made, and made again: %v", err)
	}
	if !bytes.Equal(before, read(t, dir, "ingest", seedFile)) {
		t.Error("a seed has changed")
	}
}
