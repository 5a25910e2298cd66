package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// natsContext is what EventFlux uses of a context of the NATS command line (nats context).
type natsContext struct {
	URL      string `json:"url"`
	Token    string `json:"token"`
	User     string `json:"user"`
	Password string `json:"password"`
	Creds    string `json:"creds"`
	NKey     string `json:"nkey"`
	Cert     string `json:"cert"`
	Key      string `json:"key"`
	CA       string `json:"ca"`
	Inbox    string `json:"inbox_prefix"`
	Domain   string `json:"jetstream_domain"`
	JWT      string `json:"user_jwt"`
	Proxy    string `json:"socks_proxy"`
	NSC      string `json:"nsc"`
}

// contextFolder is where the NATS command line keeps contexts.
func contextFolder() (string, error) {
	base := os.Getenv("XDG_CONFIG_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "nats", "context"), nil
}

// readContext reads a context by its name, or by the path of its file.
func readContext(name string) (c natsContext, err error) {
	file := name
	if !strings.ContainsRune(name, filepath.Separator) && filepath.Ext(name) != ".json" {
		folder, err := contextFolder()
		if err != nil {
			return c, err
		}
		file = filepath.Join(folder, name+".json")
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return c, fmt.Errorf("there is no context %q in %s%s; nats context ls lists them", name, folder, suggest(name, contextNames(folder)))
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s is no context: %w", file, err)
	}
	return c, c.check(file)
}

// check refuses what a context has and EventFlux cannot use: it would connect as somebody
// else, or to another place.
func (c *natsContext) check(file string) error {
	for _, one := range []struct{ key, value, instead string }{
		{"jetstream_domain", c.Domain, "connect to a server of that domain"},
		{"user_jwt", c.JWT, "put the JWT and its key into a .creds file"},
		{"socks_proxy", c.Proxy, "connect without one"},
		{"nsc", c.NSC, "name the .creds file as creds"},
	} {
		if one.value != "" {
			return fmt.Errorf("%s: EventFlux does not use %s; %s", file, one.key, one.instead)
		}
	}
	return nil
}

func contextNames(folder string) (names []string) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	slices.Sort(names)
	return names
}

// useContext has the settings that the user left alone come from the context.
func (c *Config) useContext() error {
	if c.NATS.Context == "" {
		return nil
	}
	from, err := readContext(c.NATS.Context)
	if err != nil {
		return fmt.Errorf("nats.context: %w", err)
	}
	n := &c.NATS
	if n.User == "" && n.NKey == "" && n.Creds == "" && n.TokenFile == "" { // else another identity was named
		n.User, n.NKey, n.Creds = from.User, expand(from.NKey), expand(from.Creds)
		n.Password, n.Token = from.Password, from.Token
	}
	if n.URL == "" {
		n.URL = from.URL
	}
	if n.CA == "" {
		n.CA = expand(from.CA)
	}
	if n.Cert == "" && n.Key == "" {
		n.Cert, n.Key = expand(from.Cert), expand(from.Key)
	}
	if n.Inbox == "" && from.Inbox != "_INBOX" {
		n.Inbox = from.Inbox
	}
	return nil
}

// expand replaces ~ by the user's folder, as the NATS command line does.
func expand(path string) string {
	rest, found := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !found || err != nil {
		return path
	}
	return filepath.Join(home, rest)
}
