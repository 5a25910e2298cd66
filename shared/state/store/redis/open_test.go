package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/redistest"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

// secretWord is a password that no error and no log may have.
const secretWord = "s3cr3t/?#@:,"

const secretInURL = "s3cr3t%2F%3F%23%40%3A%2C"

// openError opens a store and returns what it says, which is no more than it may say.
func openError(t *testing.T, url string) error {
	t.Helper()
	var logged testlog.Buffer
	s, err := Open(within(t), url, logged.Logger())
	if err == nil {
		t.Cleanup(func() { must(t, s.Close()) })
	} else if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("a password is in the error: %v", err)
	}
	if strings.Contains(logged.String(), "s3cr3t") {
		t.Errorf("a password is in the log: %s", &logged)
	}
	return err
}

func wantText(t *testing.T, what string, err error, text string) {
	t.Helper()
	if !contains(err, text) {
		t.Errorf("%s: %v, want %q in it", what, err, text)
	}
}

func TestWrongURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://":                                    "HOST:PORT",
		"http://host":                                 "is no URL",
		"redis:host":                                  "is no URL",
		"redis://user:s3cr3t?x@host:1":                "is no URL",
		"redis://user:s3cr3t#x@host:1":                "is no URL",
		"redis://:12?s3cr3t@host:1":                   "is no URL",
		"redis://u:1/s3cr3t@host:1":                   "is no URL",
		"redis://u:s3cr3t%zz@host":                    "is no URL",
		"redis://host:port":                           "is no URL",
		"redis://host:99999":                          "HOST:PORT",
		"redis://host/one":                            "number of the database",
		"redis://host?pool=3&sise=4":                  `unknown parameter "pool"; there are addr, ca, cert, cluster, key, master, password_file, pool_size, prefix, replicas, sentinel_password_file, timeout, ttl`,
		"redis://host?ttl=1s":                         "parameter ttl is no duration of 1m0s or more",
		"redis://host?timeout=5":                      "parameter timeout is no duration",
		"redis://host?pool_size=0":                    "parameter pool_size is no whole number from 1 to 1000",
		"redis://host?replicas=many":                  "parameter replicas is no whole number",
		"redis://host?cluster=maybe":                  "neither true nor false",
		"redis://host?prefix={a}":                     "parameter prefix has",
		"redis://host?prefix=a&prefix=b":              "parameter prefix is there twice",
		"redis://host?addr=host2":                     "several addresses need cluster=true",
		"redis://host/3?cluster=true":                 "no databases but 0",
		"redis://host?cluster=true&master=m":          "exclude each other",
		"redis://host?ca=file":                        "need rediss://",
		"rediss://host?cert=file":                     "cert and key need each other",
		"redis://u:s3cr3t@host?password_file=f":       "there is a password, and a password_file",
		"redis://host?password_file=/none":            "read the password",
		"redis://host?sentinel_password_file=f":       "needs master=NAME",
		"rediss://host?ca=/none":                      "read the certificate authority",
		"redis://:" + secretInURL + "@host?master=":   "parameter master is empty",
		"redis://127.0.0.1:1/?timeout=50ms":           "connect",
		"redis://127.0.0.1:1?master=m&timeout=100ms":  "sentinel",
		"redis://127.0.0.1:1?cluster=1&timeout=100ms": "redis cluster 127.0.0.1:1",
	} {
		wantText(t, url, openError(t, url), want)
	}
	o, err := Parse("redis://me:" + secretInURL + "@[::1]/2?addr=h2:7&master=m&prefix=p:&ttl=90s&replicas=2&timeout=1s&pool_size=9")
	must(t, err)
	if o.Password != secretWord || o.Name() != "redis m of sentinel [::1]:6379,h2:7/2" || o.Prefix != "p:" || o.TTL != 90*time.Second || o.Replicas != 2 || o.PoolSize != 9 {
		t.Errorf("%+v is %s", o, o.Name())
	}
}

func TestUsers(t *testing.T) {
	server := redistest.Start(t)
	page, err := os.ReadFile("../../../../docs/formats/store.md")
	must(t, err)
	_, rights, _ := strings.Cut(string(page), "ACL SETUSER eventflux on >PASSWORD ")
	rights, _, _ = strings.Cut(rights, "\n")
	with := func(user, password string, rights ...string) string {
		args := []any{"ACL", "SETUSER", user, "reset", "on", ">" + password}
		for _, r := range rights {
			args = append(args, r)
		}
		server.Do(args...)
		return "redis://" + user + ":" + secretInURL + "@" + server.Addr
	}
	must(t, openError(t, with("documented", secretWord, strings.Fields(rights)...)))
	conform(t, "redis://documented:"+secretInURL+"@"+server.Addr+"?timeout=5s")
	cluster := redistest.Cluster(t, 1)[0]
	args := []any{"ACL", "SETUSER", "documented", "reset", "on", ">" + secretWord}
	for _, r := range strings.Fields(rights) {
		args = append(args, r)
	}
	cluster.Do(args...)
	must(t, openError(t, "redis://documented:"+secretInURL+"@"+cluster.Addr+"?cluster=true"))
	for what, lacking := range map[string][]string{
		"commands": {"~*"}, "some commands": {"~*", "+@all", "-hset"}, "expiry": {"~*", "+@all", "-persist"}, "keys": {"~other:*", "+@all"}, "scan": {"~*", "+@all", "-scan"},
	} {
		wantText(t, "a user without "+what, openError(t, with("limited", secretWord, lacking...)), "redis does not let user limited do that")
	}
	wantText(t, "a wrong password", openError(t, with("other", "something else", "~*", "+@all")), "does not accept the user or the password")
	wantText(t, "an unknown user", openError(t, "redis://nobody:"+secretInURL+"@"+server.Addr), "does not accept the user or the password")
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(secretWord+"\n"), 0o600))
	with("withfile", secretWord, "~*", "+@all", "&*")
	must(t, openError(t, "redis://withfile@"+server.Addr+"?password_file="+file))
	server.Do("CONFIG", "SET", "requirepass", "something")
	c := server.ClientAs("", "something") // the helpers have no password
	defer c.Close()
	wantText(t, "no password", openError(t, server.URL()), "does not accept the user or the password")
	must(t, c.ConfigSet(within(t), "requirepass", "").Err())
}

// A restart keeps what was committed though the user default is off, and a Redis that
// would drop it is refused.
func TestUserDefaultIsOff(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	users := func(rights string) {
		server.Kill()
		file := filepath.Join(server.Dir, "users.acl")
		must(t, os.WriteFile(file, []byte("user default "+rights+"\nuser store on nopass ~* &* +@all\n"), 0o600))
		server.Start("--aclfile", file)
	}
	url := "redis://store:any@" + server.Addr
	users("off ~* &* +@all")
	s := openAt(t, url)
	must(t, s.Commit(within(t), commitOf(1, 1)))
	server.Kill()
	server.Start()
	wantHead(t, s, 1, 1)
	for _, rights := range []string{"off", "off ~* +@all -hset", "off ~other:* +@all"} {
		users(rights)
		wantText(t, rights, openError(t, url), "ACL SETUSER default ~* &* +@all")
	}
}

// Open warns of settings that can lose data, and refuses a Redis that would evict objects.
func TestSettingsOfRedis(t *testing.T) {
	server := redistest.Start(t, redistest.Durable...)
	replica := server.Replica()
	for _, c := range []struct {
		set       []string
		want, err string
	}{
		{set: []string{"appendfsync", "always"}},
		{set: []string{"appendfsync", "everysec"}, want: "set appendfsync always"},
		{set: []string{"appendonly", "no", "save", "60 1"}, want: "since its last snapshot"},
		{set: []string{"save", ""}, want: "keeps nothing on disk"},
		{set: []string{"appendonly", "yes", "appendfsync", "always", "maxmemory-policy", "allkeys-lru"}},
		{set: []string{"maxmemory", "1gb"}, err: "set maxmemory-policy noeviction instead of allkeys-lru"},
		{set: []string{"maxmemory-policy", "volatile-ttl"}, want: "may evict what is being written"},
		{set: []string{"maxmemory-policy", "noeviction"}},
	} {
		args := []any{"CONFIG", "SET"}
		for _, a := range c.set {
			args = append(args, a)
		}
		server.Do(args...)
		var logged testlog.Buffer
		s, err := Open(within(t), server.URL(), logged.Logger())
		if err == nil {
			must(t, s.Close())
		}
		if c.err != "" && !contains(err, c.err) || c.err == "" && err != nil {
			t.Errorf("%q: %v, want %q", c.set, err, c.err)
		}
		if !strings.Contains(logged.String(), c.want) || c.want == "" && logged.String() != "" {
			t.Errorf("%q: logged %q, want %q", c.set, &logged, c.want)
		}
	}
	wantText(t, "a replica", openError(t, replica.URL("timeout=200ms")), "it is a replica")
	wantText(t, "no cluster", openError(t, server.URL("cluster=true", "timeout=200ms")), "it is no Cluster")
	server.Do("SET", "eventflux:format", "2")
	wantText(t, "a newer format", openError(t, server.URL()), "run the version of eventflux that wrote it")
	must(t, openError(t, server.URL("prefix=other:")))
	server.Do("SET", "eventflux:format", "1")
	server.Do("SET", "eventflux:o:{blocks/x}", "what somebody else wrote")
	s := openAt(t, server.URL())
	wantText(t, "a put over something else", s.Put(within(t), "blocks/x", []byte("x")), "WRONGTYPE")
}

// authority is one that signs certificates of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes NAME.crt and NAME.key.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	must(a.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		must(a.t, os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600))
	}
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert, key
}

func TestTLS(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	a.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	a.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	server := redistest.Start(t, "--port", "0", "--tls-port", redistest.Port, "--tls-auth-clients", "yes",
		"--tls-cert-file", a.file("server.crt"), "--tls-key-file", a.file("server.key"), "--tls-ca-cert-file", a.file("ca.crt"))
	good := "rediss://" + server.Addr + "?ca=" + a.file("ca.crt") + "&cert=" + a.file("client.crt") + "&key=" + a.file("client.key")
	conform(t, good)
	wantText(t, "no certificate of the client", openError(t, "rediss://"+server.Addr+"?timeout=300ms&ca="+a.file("ca.crt")), "certificate required")
	wantText(t, "an unknown authority", openError(t, "rediss://"+server.Addr+"?timeout=300ms&ca="+foreign.file("ca.crt")), "certificate signed by unknown authority")
	wantText(t, "another name", openError(t, strings.Replace(good, "127.0.0.1", "localhost", 1)), "certificate is not valid for any names")
	wantText(t, "no PEM", openError(t, "rediss://host?ca="+a.file("server.key")), "no certificate in PEM")
	if err := openError(t, "redis://"+server.Addr+"?timeout=300ms"); err == nil {
		t.Error("opened without TLS")
	}
}

// A wrong URL is the caller's bug, and tells no more than it may.
func TestInvalidIsInvalid(t *testing.T) {
	wantErr(t, "open", openError(t, "redis://host?x=1"), store.ErrInvalid)
}
