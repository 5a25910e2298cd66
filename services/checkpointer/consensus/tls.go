package consensus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// alpn keeps apart what else may one day speak TLS on the same port.
const alpn = "ef-raft/1"

// handshakeTimeout bounds how long whoever connects may take to say who it is.
const handshakeTimeout = 5 * time.Second

// TLS has the files that prove who a member is. They are read again for each
// connection, so a certificate is renewed by replacing its file.
type TLS struct {
	CAFile            string // the authorities that sign the members' certificates
	CertFile, KeyFile string // of this member; the certificate has the member's id
}

// guard makes connections of members, and of nobody else: each side has a certificate
// of the group's authority, and that certificate has the id of a member; of the very
// member that is meant, where this side has made the connection.
type guard struct {
	files TLS
	id    string
	log   *slog.Logger
	// members returns the addresses of the members by their ids.
	members func() map[string]string
}

// load reads the files. A certificate without this member's id would be refused by
// all others; it is better to say so at the start.
func (g *guard) load() (tls.Certificate, *x509.CertPool, error) {
	var none tls.Certificate
	if g.files.CAFile == "" || g.files.CertFile == "" || g.files.KeyFile == "" {
		return none, nil, errors.New("raft.ca, raft.cert and raft.key go together, and one of them is missing")
	}
	authorities, err := os.ReadFile(g.files.CAFile)
	if err != nil {
		return none, nil, fmt.Errorf("raft.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return none, nil, fmt.Errorf("raft.ca: no certificate in PEM is in %s", g.files.CAFile)
	}
	own, err := tls.LoadX509KeyPair(g.files.CertFile, g.files.KeyFile)
	if err != nil {
		return none, nil, fmt.Errorf("raft.cert and raft.key: %w", err)
	}
	if !slices.Contains(idsOf(own.Leaf), g.id) {
		return none, nil, fmt.Errorf("raft.cert: the certificate is that of %q, and raft.id is %q", idsOf(own.Leaf), g.id)
	}
	return own, pool, nil
}

// idsOf returns what a certificate calls its owner.
func idsOf(c *x509.Certificate) []string {
	ids := slices.Clone(c.DNSNames)
	if name := c.Subject.CommonName; name != "" {
		ids = append(ids, name)
	}
	return ids
}

// config returns the settings of one connection. allowed says whether a peer with
// these ids may be at the other end.
func (g *guard) config(usage x509.ExtKeyUsage, allowed func(ids []string) error) (*tls.Config, error) {
	own, pool, err := g.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn},
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAnyClientCert,
		// Members are known by their ids and not by host names, so VerifyConnection
		// does all of the check, the chain included.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != alpn {
				return fmt.Errorf("the peer does not speak %s", alpn)
			}
			if len(s.PeerCertificates) == 0 {
				return errors.New("the peer has no certificate")
			}
			leaf, between := s.PeerCertificates[0], x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				between.AddCert(c)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				return fmt.Errorf("the certificate of %q: %w", idsOf(leaf), err)
			}
			return allowed(idsOf(leaf))
		},
	}, nil
}

// client secures a connection that this member has made to an address.
func (g *guard) client(c net.Conn, address string, timeout time.Duration) (net.Conn, error) {
	config, err := g.config(x509.ExtKeyUsageServerAuth, func(ids []string) error {
		for id, at := range g.members() {
			if at == address && slices.Contains(ids, id) {
				return nil
			}
		}
		return fmt.Errorf("the certificate is that of %q, which is not the member at %s", ids, address)
	})
	if err != nil {
		return nil, err
	}
	secured := tls.Client(c, config)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return secured, secured.HandshakeContext(ctx)
}

// server secures a connection that another process has made. The handshake happens
// with the first read: whoever is slow to say who it is holds up nobody else.
func (g *guard) server(c net.Conn) (net.Conn, error) {
	config, err := g.config(x509.ExtKeyUsageClientAuth, func(ids []string) error {
		members := g.members()
		for _, id := range ids {
			if _, ok := members[id]; ok {
				return nil
			}
		}
		return fmt.Errorf("the certificate is that of %q, which is no member of the group", ids)
	})
	if err != nil {
		return nil, err
	}
	return &guarded{Conn: tls.Server(c, config), log: g.log}, nil
}

// guarded is a connection whose peer says who it is before anything is read.
type guarded struct {
	*tls.Conn
	log  *slog.Logger
	once sync.Once
	err  error
}

// Read implements net.Conn.
func (c *guarded) Read(p []byte) (int, error) {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
		defer cancel()
		// Who leaves without a word has looked whether this member is there.
		if c.err = c.HandshakeContext(ctx); c.err != nil && !errors.Is(c.err, io.EOF) {
			c.log.Warn("refused a connection to Raft", "from", c.RemoteAddr(), "err", c.err)
		}
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}
