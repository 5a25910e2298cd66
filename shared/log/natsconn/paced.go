package natsconn

import "net"

// ReadBytesMax is the most that a connection with ConnectConfig.BeforeRead reads at once.
const ReadBytesMax = 32 << 10

// pacedConn asks before each read.
type pacedConn struct {
	net.Conn
	beforeRead func()
}

func (c *pacedConn) Read(p []byte) (int, error) {
	c.beforeRead()
	return c.Conn.Read(p[:min(len(p), ReadBytesMax)])
}

type pacedDialer struct {
	net.Dialer
	beforeRead func()
}

func (d pacedDialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &pacedConn{c, d.beforeRead}, nil
}

type pacedServer struct {
	*Embedded
	beforeRead func()
}

func (s pacedServer) InProcessConn() (net.Conn, error) {
	c, err := s.Embedded.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &pacedConn{c, s.beforeRead}, nil
}
