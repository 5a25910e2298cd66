package natsconn

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/eventflux/eventflux/shared/ops/pki"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

// TestEmbeddedAsksWhoConnects shows that each way to prove who one is works, that nothing
// else gets in, and that the process itself always does.
func TestEmbeddedAsksWhoConnects(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	password, wrong := write("password", []byte("hunter2\n")), write("wrong", []byte("hunter3"))
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	otherSeed, _ := other.Seed()
	authority, err := pki.NewAuthority("test", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	own, err := authority.Pair()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue("server", []string{"127.0.0.1"}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key := write("ca.crt", own.Cert), write("s.crt", pair.Cert), write("s.key", pair.Key)

	nobody := ConnectConfig{}
	for _, c := range []struct {
		name       string
		access     Access
		in, refuse []ConnectConfig
	}{
		{
			"password",
			Access{User: "u", PasswordFile: password},
			[]ConnectConfig{{User: "u", PasswordFile: password}},
			[]ConnectConfig{nobody, {User: "u", PasswordFile: wrong}, {User: internalUser, PasswordFile: password}},
		},
		{
			"nkey",
			Access{NKeys: []string{public}},
			[]ConnectConfig{{NKeyFile: write("seed", seed)}},
			[]ConnectConfig{nobody, {NKeyFile: write("other", otherSeed)}, {User: "u", PasswordFile: password}},
		},
		{
			"TLS",
			Access{User: "u", PasswordFile: password, CertFile: cert, KeyFile: key},
			[]ConnectConfig{{User: "u", PasswordFile: password, CAFile: ca}},
			[]ConnectConfig{{User: "u", PasswordFile: password}, {CAFile: ca}},
		},
		{
			"certificates of clients",
			Access{CertFile: cert, KeyFile: key, CAFile: ca},
			[]ConnectConfig{{CAFile: ca, CertFile: cert, KeyFile: key}},
			[]ConnectConfig{{CAFile: ca}, nobody},
		},
	} {
		e := openEmbedded(t, EmbeddedConfig{Listen: "127.0.0.1:0", Durability: Fast, Access: c.access})
		js := connect(t, ConnectConfig{Embedded: e, Name: "own"})
		if _, err := js.AccountInfo(within(t)); err != nil {
			t.Errorf("%s: the process itself: %v", c.name, err)
		}
		for i, who := range c.in {
			who.URL = e.URL()
			js := connect(t, who)
			if _, err := js.AccountInfo(within(t)); err != nil {
				t.Errorf("%s: client %d: %v", c.name, i, err)
			}
		}
		for i, who := range c.refuse {
			opts, err := who.Identity()
			if err != nil {
				t.Fatal(err)
			}
			if nc, err := nats.Connect(e.URL(), opts...); err == nil {
				nc.Close()
				t.Errorf("%s: stranger %d was let in", c.name, i)
			}
		}
	}
}

func TestEmbeddedNamesWhatIsWrongWithItsAccess(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		access Access
		want   string
	}{
		{Access{User: "u"}, "go together"},
		{Access{User: "u", PasswordFile: missing}, missing},
		{Access{User: "u", PasswordFile: empty}, empty + " is empty"},
		{Access{User: internalUser, PasswordFile: empty}, "choose another name"},
		{Access{NKeys: []string{"SUAB"}}, `"SUAB" is no public key`},
		{Access{CertFile: missing}, "go together"},
		{Access{CertFile: missing, KeyFile: missing}, missing},
		{Access{CertFile: empty, KeyFile: empty}, empty},
		{Access{CAFile: missing}, "over TLS"},
	} {
		_, err := OpenEmbedded(EmbeddedConfig{Dir: dir, Listen: "127.0.0.1:0", Access: c.access})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c.access, err, c.want)
		}
	}
}

// TestSecretsOfURLsStayHidden connects to an address without a server, with every possible
// secret in the URL, and checks that no output contains them.
func TestSecretsOfURLsStayHidden(t *testing.T) {
	for _, url := range []string{
		"nats://u:hunter2@127.0.0.1:1", "nats://hunter2@127.0.0.1:1", "u:hunter2@127.0.0.1:1",
		"nats://u:hunter2@127.0.0.1:1,nats://hunter2@127.0.0.1:1", "nats://u:hunter2@[::1", "nats://u:hunter2@127.0.0.1:x",
	} {
		var log testlog.Buffer
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		nc, err := Connect(ctx, ConnectConfig{URL: url, Name: "test", Log: log.Logger()})
		cancel()
		if err == nil {
			nc.Close()
			t.Fatalf("connected to %s", url)
		}
		if said := err.Error() + log.String(); strings.Contains(said, "hunter2") {
			t.Errorf("the secret of %s is in %s", url, said)
		}
		for _, ask := range []func() error{
			func() error { _, err := SyncOverHTTP(t.Context(), url); return err },
			func() error { _, err := SubscribersOverHTTP(t.Context(), url); return err },
		} {
			if err := ask(); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret of %s is in: %v", url, err)
			}
		}
	}
}
