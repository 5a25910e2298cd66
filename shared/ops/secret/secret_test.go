package secret_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"nothing here, a@b", "nothing here, a@b"},
		{"nats://host:4222", "nats://host:4222"},
		{"nats://u:hunter2@host:4222", "nats://u:xxxxx@host:4222"},
		{"nats://hunter2@host", "nats://xxxxx@host"}, // a token
		{"nats://:hunter2@host", "nats://:xxxxx@host"},
		{"nats://u:hunter2@a,nats://v:hunter2@b,nats://c", "nats://u:xxxxx@a,nats://v:xxxxx@b,nats://c"},
		{"nats://u:hun@ter2@host", "nats://u:xxxxx@host"},
		{`dial "redis://u:hunter2@h:6379/0?ca=/c.pem": refused`, `dial "redis://u:xxxxx@h:6379/0?ca=/c.pem": refused`},
		{"https://h/p?token=hunter2&x=1", "https://h/p?token=xxxxx&x=1"},
		{"redis://h/0?password_file=/run/secrets/redis", "redis://h/0?password_file=/run/secrets/redis"},
		{"see http://h/a@b and http://u:hunter2@h/a@b", "see http://h/a@b and http://u:xxxxx@h/a@b"},
	} {
		if got := secret.Text(c.text); got != c.want {
			t.Errorf("Text(%q) = %q, want %q", c.text, got, c.want)
		}
		var b strings.Builder
		if n, err := secret.Writer(&b).Write([]byte(c.text)); err != nil || n != len(c.text) || b.String() != c.want {
			t.Errorf("Writer wrote %q (%d, %v), want %q", b.String(), n, err, c.want)
		}
	}
}

func TestURL(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"", ""},
		{"host:4222", "host:4222"},
		{"u:hunter2@host:4222", "u:xxxxx@host:4222"},
		{"hunter2@host", "xxxxx@host"},
		{"u:hunter2@a,hunter2@b", "u:xxxxx@a,nats://xxxxx@b"},
	} {
		if got := secret.URL(c.url); got != c.want {
			t.Errorf("URL(%q) = %q, want %q", c.url, got, c.want)
		}
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	cause := errors.New("nats://u:hunter2@host")
	err := secret.Error(fmt.Errorf("connect to %w", cause))
	if !errors.Is(err, cause) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("masked error is %q", err)
	}
	if secret.Error(nil) != nil {
		t.Error("no error became one")
	}
}
