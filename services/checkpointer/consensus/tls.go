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

// alpn identifies this protocol, in case another one uses TLS on the same port one day.
const alpn = "ef-raft/1"

// handshakeTimeout bounds the duration of the TLS handshake.
const handshakeTimeout = 5 * time.Second

// TLS names the files that authenticate a member. They are read for each connection, so a
// certificate is renewed by replacing its file.
type TLS struct {
	CAFile            string // the authorities that sign the members' certificates
	CertFile, KeyFile string // of this member; the certificate has the member's id
}

// guard makes TLS connections that only members can use: each side has a certificate of the
// group's authority with the id of a member. The side that connects also checks that it has
// reached the member that it wants.
type guard struct {
	files TLS
	id    string
	log   *slog.Logger
	// members returns the addresses of the members by their ids.
	members func() map[string]string
}

// load reads the files. It refuses a certificate without this member's id at the start,
// because all other members would refuse it later.
func (g *guard) load() (tls.Certificate, *x509.CertPool, error) {
	var none tls.Certificate
	if g.files.CAFile == "" || g.files.CertFile == "" || g.files.KeyFile == "" {
		return none, nil, errors.New("raft.ca, raft.cert and raft.key must be set together, and one of them is missing")
	}
	authorities, err := os.ReadFile(g.files.CAFile)
	if err != nil {
		return none, nil, fmt.Errorf("raft.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return none, nil, fmt.Errorf("raft.ca: no certificate in PEM format in %s", g.files.CAFile)
	}
	own, err := tls.LoadX509KeyPair(g.files.CertFile, g.files.KeyFile)
	if err != nil {
		return none, nil, fmt.Errorf("raft.cert and raft.key: %w", err)
	}
	if !slices.Contains(idsOf(own.Leaf), g.id) {
		return none, nil, fmt.Errorf("raft.cert: the certificate belongs to %q, but raft.id is %q", idsOf(own.Leaf), g.id)
	}
	return own, pool, nil
}

// idsOf returns the names of a certificate's owner.
func idsOf(c *x509.Certificate) []string {
	ids := slices.Clone(c.DNSNames)
	if name := c.Subject.CommonName; name != "" {
		ids = append(ids, name)
	}
	return ids
}

// config returns the settings of one connection. allowed returns an error if the owner of
// these ids must not be the peer.
func (g *guard) config(usage x509.ExtKeyUsage, allowed func(ids []string) error) (*tls.Config, error) {
	own, pool, err := g.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn},
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAnyClientCert,
		// Members are identified by ids instead of host names, so VerifyConnection does the
		// whole check, including the chain.
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
		return fmt.Errorf("the certificate belongs to %q, which is not the member at %s", ids, address)
	})
	if err != nil {
		return nil, err
	}
	secured := tls.Client(c, config)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return secured, secured.HandshakeContext(ctx)
}

// server secures a connection that another process has made. The handshake happens at the
// first read, so that a slow peer does not delay other connections.
func (g *guard) server(c net.Conn) (net.Conn, error) {
	config, err := g.config(x509.ExtKeyUsageClientAuth, func(ids []string) error {
		members := g.members()
		for _, id := range ids {
			if _, ok := members[id]; ok {
				return nil
			}
		}
		return fmt.Errorf("the certificate belongs to %q, which is not a member of the group", ids)
	})
	if err != nil {
		return nil, err
	}
	return &guarded{Conn: tls.Server(c, config), log: g.log}, nil
}

// guarded is a connection that authenticates its peer before the first read.
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
		// EOF without data: another member only checked that this one accepts connections.
		if c.err = c.HandshakeContext(ctx); c.err != nil && !errors.Is(c.err, io.EOF) {
			c.log.Warn("refused a connection to Raft", "from", c.RemoteAddr(), "err", c.err)
		}
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}
