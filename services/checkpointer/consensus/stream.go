package consensus

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stream is the network of Raft: TCP, with TLS if there is a guard. Its address is the
// advertised one. Raft's transport pools connections; Close of the stream closes them too.
type stream struct {
	net.Listener
	advertise net.Addr
	guard     *guard // nil for plain text

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

// namedAddr is an address that this machine may be unable to resolve.
type namedAddr string

func (namedAddr) Network() string  { return "tcp" }
func (a namedAddr) String() string { return string(a) }

func newStream(listen, advertise string, g *guard) (*stream, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	return &stream{Listener: l, advertise: namedAddr(advertise), guard: g, open: map[net.Conn]struct{}{}}, nil
}

// Addr implements net.Listener.
func (s *stream) Addr() net.Addr { return s.advertise }

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil || s.guard == nil {
		return s.keep(c, err)
	}
	secured, err := s.guard.server(c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s.keep(secured, nil)
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", string(address), timeout)
	if err != nil || s.guard == nil {
		return s.keep(c, err)
	}
	secured, err := s.guard.client(c, string(address), timeout)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft connection to %s: %w", address, err), c.Close())
	}
	return s.keep(secured, nil)
}

func (s *stream) keep(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	s.open[c] = struct{}{}
	return &trackedConn{c, s}, nil
}

// Close implements net.Listener.
func (s *stream) Close() error {
	err := s.Listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		_ = c.Close() // Raft may have closed it
	}
	clear(s.open)
	return err
}

// trackedConn is a connection that its stream closes at the end.
type trackedConn struct {
	net.Conn
	stream *stream
}

// Close implements net.Conn.
func (k *trackedConn) Close() error {
	k.stream.mu.Lock()
	delete(k.stream.open, k.Conn)
	k.stream.mu.Unlock()
	return k.Conn.Close()
}
