package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A context sets what no setting says, and another identity replaces its own whole.
func TestNATSContext(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", folder)
	t.Setenv("HOME", "/home/me")
	contexts := filepath.Join(folder, "nats", "context")
	if err := os.MkdirAll(contexts, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"prod":  `{"url":"tls://a:4222","user":"me","password":"secret","ca":"~/ca.pem","inbox_prefix":"_INBOX","description":"x"}`,
		"creds": `{"url":"nats://b:4222","creds":"~/me.creds","inbox_prefix":"mine"}`,
		"proxy": `{"url":"nats://b:4222","socks_proxy":"socks5://x"}`,
		"bad":   `{`,
	} {
		if err := os.WriteFile(filepath.Join(contexts, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		env  []string
		want NATS
		err  string
	}{
		{
			env:  []string{"EVENTFLUX_NATS_CONTEXT=prod"},
			want: NATS{URL: "tls://a:4222", User: "me", Password: "secret", CA: "/home/me/ca.pem", Context: "prod"},
		},
		{
			env:  []string{"EVENTFLUX_NATS_CONTEXT=creds"},
			want: NATS{URL: "nats://b:4222", Creds: "/home/me/me.creds", Inbox: "mine", Context: "creds"},
		},
		{
			env:  []string{"EVENTFLUX_NATS_CONTEXT=prod", "EVENTFLUX_NATS_URL=nats://c:4222", "EVENTFLUX_NATS_NKEY=seed"},
			want: NATS{URL: "nats://c:4222", NKey: "seed", CA: "/home/me/ca.pem", Context: "prod"},
		},
		{env: []string{"EVENTFLUX_NATS_CONTEXT=prood"}, err: "did you mean prod?"},
		{env: []string{"EVENTFLUX_NATS_CONTEXT=proxy"}, err: "does not use socks_proxy"},
		{env: []string{"EVENTFLUX_NATS_CONTEXT=bad"}, err: "bad.json is no context"},
	} {
		got, err := load(nil, "", c.env)
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v, want %q", c.env, err, c.err)
		}
		if err != nil {
			continue
		}
		c.want.Replicas = got.NATS.Replicas
		if got.NATS != c.want {
			t.Errorf("%v: %+v, want %+v", c.env, got.NATS, c.want)
		}
	}
}
