package natsconn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

// Access says who may connect to an embedded server, and how. The zero Access lets
// everybody in who reaches the address, in plain text.
type Access struct {
	// User and PasswordFile are a name and the file with its password; both or none.
	User, PasswordFile string
	// NKeys are public keys of users (U…).
	NKeys []string
	// CertFile and KeyFile are the server's certificate: clients must use TLS.
	CertFile, KeyFile string
	// CAFile has the authorities that sign the certificates of clients: a client must
	// have one.
	CAFile string
}

// Authenticates reports whether a client must prove who it is.
func (a *Access) Authenticates() bool {
	return a.User != "" || len(a.NKeys) > 0 || a.CAFile != ""
}

// ReachesBeyond reports whether other machines may reach a listener at address
// (host:port). It takes a name other than localhost for one of a network.
func ReachesBeyond(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true
	}
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// internalUser is the server's name for the connections of its own process, which
// need a password as soon as others do. The password is new at each start and never
// leaves the process.
const internalUser = "eventflux-internal"

// apply sets the options of the server. The returned user is for connections within the
// process; it is nil if they need none.
func (a *Access) apply(opts *server.Options) (*server.User, error) {
	if err := a.applyTLS(opts); err != nil {
		return nil, err
	}
	if (a.User == "") != (a.PasswordFile == "") {
		return nil, errors.New("user and password file go together, one of them is missing")
	}
	if a.User == "" && len(a.NKeys) == 0 {
		return nil, nil
	}
	internal := &server.User{
		Username: internalUser, Password: rand.Text(),
		AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeInProcess: {}},
	}
	opts.Users = []*server.User{internal}
	if a.User != "" {
		if a.User == internalUser {
			return nil, fmt.Errorf("user %s is taken by the process itself; choose another name", a.User)
		}
		password, err := secret.File(a.PasswordFile)
		if err != nil {
			return nil, err
		}
		opts.Users = append(opts.Users, &server.User{Username: a.User, Password: password})
	}
	for _, key := range a.NKeys {
		if !nkeys.IsValidPublicUserKey(key) {
			return nil, fmt.Errorf("%q is no public key of a user; it starts with U, and `nk -gen user -pubout` prints one", key)
		}
		opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: key})
	}
	return internal, nil
}

func (a *Access) applyTLS(opts *server.Options) (err error) {
	if (a.CertFile == "") != (a.KeyFile == "") {
		return errors.New("the server's certificate and key go together, one of them is missing")
	}
	if a.CertFile == "" {
		if a.CAFile != "" {
			return errors.New("clients can only show a certificate over TLS: set the server's certificate and key as well")
		}
		return nil
	}
	for _, file := range []string{a.CertFile, a.KeyFile, a.CAFile} {
		if file == "" {
			continue
		}
		// The server's own errors do not name the file.
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	opts.TLSConfig, err = server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: a.CertFile, KeyFile: a.KeyFile, CaFile: a.CAFile, Verify: a.CAFile != "", Timeout: tlsTimeoutSeconds,
	})
	if err != nil {
		return fmt.Errorf("TLS with %s: %w", strings.Join([]string{a.CertFile, a.KeyFile, a.CAFile}, " "), err)
	}
	opts.TLS, opts.TLSVerify, opts.TLSTimeout = true, a.CAFile != "", tlsTimeoutSeconds
	return nil
}

const tlsTimeoutSeconds = 5
