package node

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/ops/config"
)

func TestAccessIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		set     func(*config.Config)
		refused string // part of the error, "" for none
	}{
		{"loopback", func(c *config.Config) { c.Listen = "127.0.0.1:0" }, ""},
		{"loopback by name", func(c *config.Config) { c.Listen = "localhost:0" }, ""},
		{"loopback of IPv6", func(c *config.Config) { c.Listen = "[::1]:0" }, ""},
		{"all addresses", func(c *config.Config) { c.Listen = "0.0.0.0:4222" }, "server.user"},
		{"all addresses, none written", func(c *config.Config) { c.Listen = ":4222" }, "--insecure"},
		{"another address", func(c *config.Config) { c.Listen = "192.0.2.1:4222" }, "--insecure"},
		{"a name", func(c *config.Config) { c.Listen = "nats.example:4222" }, "--insecure"},
		{"a certificate without authorities of clients", func(c *config.Config) {
			c.Listen, c.Server.Cert, c.Server.Key = ":4222", "c", "k"
		}, "--insecure"},
		{"insecure", func(c *config.Config) { c.Listen, c.Insecure = ":4222", true }, ""},
		{"a user", func(c *config.Config) { c.Listen, c.Server.User, c.Server.PasswordFile = ":4222", "u", "f" }, ""},
		{"nkeys", func(c *config.Config) { c.Listen, c.Server.NKeys = ":4222", "U1,U2" }, ""},
		{"certificates of clients", func(c *config.Config) {
			c.Listen, c.Server.Cert, c.Server.Key, c.Server.CA = ":4222", "c", "k", "a"
		}, ""},
		{"another server", func(c *config.Config) { c.NATS.URL, c.Listen = "nats://h:4222", ":4222" }, ""},
		{"another server, and a user of the embedded one", func(c *config.Config) {
			c.NATS.URL, c.Server.User = "nats://h:4222", "u"
		}, "nats.url"},
	} {
		cfg := config.Default()
		c.set(cfg)
		switch err := checkAccess(cfg); {
		case c.refused == "" && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.refused)
		}
	}
}
