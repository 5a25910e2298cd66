// Package certs makes the credentials of the processes of a cluster: a development
// authority, certificates of servers and of checkpointers, an nkey for each user of NATS,
// and a password for the store. Each role gets its own folder, so that a container needs only
// the files of its role. deploy/nats/auth.conf defines what users may do.
package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/eventflux/eventflux/shared/ops/pki"
)

// Users are those that deploy/nats/auth.conf knows.
var Users = []string{
	"checkpointer", "ingest", "processor", "merger", "recovery",
	"operator", "publisher", "subscriber", "reader",
}

// storeUsers read and write the store of checkpoints.
var storeUsers = []string{"checkpointer", "processor", "merger", "recovery"}

// Names of files.
const (
	caFile       = "ca.crt"
	certFile     = "tls.crt"
	keyFile      = "tls.key"
	seedFile     = "user.nk"
	keysFile     = "keys.conf"
	serversFile  = "servers.conf"
	aclFile      = "users.acl"
	passwordFile = "store.password"

	authority = "authority" // the folder of the authority itself
)

// ErrExists is returned if the folder has keys already: new ones would lock out everything that
// uses those.
var ErrExists = errors.New("there are keys already")

// Config says which keys to make.
type Config struct {
	Dir           string   // made if missing
	Servers       int      // of NATS, called nats-1 and so on
	Checkpointers int      // called nats-1 and so on
	Hosts         []string // more names and addresses of NATS and Redis
	Valid         time.Duration
}

// maker creates files until one fails.
type maker struct {
	cfg   Config
	until time.Time
	ca    *pki.Authority
	root  pki.Pair
	err   error
}

// Make makes all keys. It writes the authority's certificate last: if that exists, all others do.
func Make(cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	m := &maker{cfg: cfg, until: time.Now().Add(cfg.Valid)}
	if m.ca, m.err = pki.NewAuthority("EventFlux development authority", m.until); m.err != nil {
		return m.err
	}
	if m.root, m.err = m.ca.Pair(); m.err != nil {
		return m.err
	}
	keys := m.users()
	password := m.password()
	servers := numbered("nats", cfg.Servers)
	var certificates [][]byte
	for _, name := range servers {
		certificates = append(certificates, m.certificate(name, append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Hosts...)))
		m.public(name, keysFile, []byte(keys))
	}
	for _, name := range servers {
		m.public(name, serversFile, []byte(pins(certificates)))
	}
	for _, name := range numbered("checkpointer", cfg.Checkpointers) {
		m.certificate(name, nil)
	}
	m.certificate("redis", append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Hosts...))
	m.secret("redis", aclFile, []byte(acl(password)))
	m.secret(authority, keyFile, m.root.Key)
	m.public(authority, certFile, m.root.Cert)
	return m.err
}

// Made reports whether the folder has everything that Make creates.
func Made(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, authority, certFile))
	return err == nil
}

func (c *Config) check() error {
	if c.Dir == "" || c.Servers < 1 || c.Checkpointers < 1 || c.Valid <= 0 {
		return errors.New("keys need a folder, at least one server and one checkpointer, and a period of validity")
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && c.role(e.Name()) {
			return fmt.Errorf("%w: %s has %s; choose another folder, or delete this one and restart everything", ErrExists, c.Dir, e.Name())
		}
	}
	return nil
}

// role reports whether a folder is one of those that Make creates.
func (c *Config) role(name string) bool {
	if strings.HasPrefix(name, "nats-") || strings.HasPrefix(name, "checkpointer-") || name == "redis" || name == authority {
		return true
	}
	for _, u := range Users {
		if u == name {
			return true
		}
	}
	return false
}

func numbered(name string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", name, i+1)
	}
	return names
}

// users creates an nkey for each user, and returns the public keys in the format of the NATS
// configuration. All checkpointers are one user, but each has its own folder.
func (m *maker) users() string {
	var b strings.Builder
	b.WriteString("# The public keys of the users in auth.conf. Their seeds are with their owners.\n")
	for _, user := range Users {
		pair, err := nkeys.CreateUser()
		if err != nil {
			m.fail(err)
			continue
		}
		public, err := pair.PublicKey()
		m.fail(err)
		seed, err := pair.Seed()
		m.fail(err)
		fmt.Fprintf(&b, "%s: %s\n", Variable(user), public)
		for _, folder := range m.folders(user) {
			m.secret(folder, seedFile, append(seed, '\n'))
			m.public(folder, caFile, m.root.Cert)
		}
		pair.Wipe()
	}
	return b.String()
}

// folders returns the folders of a user's processes.
func (m *maker) folders(user string) []string {
	if user == "checkpointer" {
		return numbered(user, m.cfg.Checkpointers)
	}
	return []string{user}
}

// Variable is the variable for a user's public key in auth.conf.
func Variable(user string) string { return strings.ToUpper(user) + "_KEY" }

// password creates the store's password and gives it to the users of the store.
func (m *maker) password() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	password := hex.EncodeToString(raw)
	for _, user := range storeUsers {
		for _, folder := range m.folders(user) {
			m.secret(folder, passwordFile, []byte(password+"\n"))
		}
	}
	return password
}

// acl allows one user to do what the store does with its own keys (docs/formats/store.md), and
// allows no one else anything. Redis keeps only the password's hash. No client can be the user
// default, whose rights Redis needs when it reads transactions back from its own log.
func acl(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "user default off ~* &* +@all\n" +
		"user eventflux on #" + hex.EncodeToString(sum[:]) + " resetchannels ~eventflux:*" +
		" +eval +evalsha +script|load +hset +hmget +hget +get +set +setnx +exists +unlink +pexpire +pttl +persist" +
		" +time +scan +wait +info +config|get +ping +hello +client|setname +acl|dryrun +command\n"
}

// pins makes NATS servers accept only each other: the same authority signs for checkpointers and
// Redis, and a server has the rights of all users. A certificate is identified by its key, so a
// renewal with the same key stays valid.
func pins(certificates [][]byte) string {
	var b strings.Builder
	b.WriteString("# The keys of the servers' certificates, as SHA-256 of each.\npinned_certs: [\n")
	for _, data := range certificates {
		block, _ := pem.Decode(data)
		if block == nil {
			continue // creating it failed, and that error is reported
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			fmt.Fprintf(&b, "  \"%x\"\n", sha256.Sum256(c.RawSubjectPublicKeyInfo))
		}
	}
	b.WriteString("]\n")
	return b.String()
}

// certificate creates a certificate for the process name, and gives it the authority's certificate.
func (m *maker) certificate(name string, hosts []string) []byte {
	pair, err := m.ca.Issue(name, hosts, m.until)
	m.fail(err)
	m.secret(name, keyFile, pair.Key)
	m.public(name, certFile, pair.Cert)
	m.public(name, caFile, m.root.Cert)
	return pair.Cert
}

// secret writes a file that only its owner may read; public, one that everyone may read.
func (m *maker) secret(folder, name string, data []byte) { m.write(folder, name, data, 0o600) }
func (m *maker) public(folder, name string, data []byte) { m.write(folder, name, data, 0o644) }

func (m *maker) write(folder, name string, data []byte, mode fs.FileMode) {
	if m.err != nil {
		return
	}
	dir := filepath.Join(m.cfg.Dir, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		m.fail(err)
		return
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil && mode == 0o644 {
		return // the authority's certificate, which several owners of a folder need
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		m.fail(err)
		return
	}
	_, err = f.Write(data)
	m.fail(errors.Join(err, f.Sync(), f.Close()))
}

func (m *maker) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}
