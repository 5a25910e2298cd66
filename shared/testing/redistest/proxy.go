package redistest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a link to a server that can be slow, be cut, and lead elsewhere.
type Proxy struct {
	Addr string

	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	target string
	delay  time.Duration // of what the server says
	mute   int           // that many answers are swallowed, and the connection cut
	conns  map[net.Conn]bool
	ended  chan struct{}
}

// Link starts a proxy in front of a server. It ends with the test.
func Link(t testing.TB, to *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), listener: l, target: to.Addr, conns: map[net.Conn]bool{}, ended: make(chan struct{})}
	p.group.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		close(p.ended)
		p.Cut()
		p.group.Wait()
	})
	return p
}

// Lead makes connections lead to another server, new ones and all that were there.
func (p *Proxy) Lead(to *Server) {
	p.mu.Lock()
	p.target = to.Addr
	p.mu.Unlock()
	p.Cut()
}

// Slow lets every answer wait; 0 for no more.
func (p *Proxy) Slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// Swallow takes the next n answers away: the server has done what it was asked for, and
// the client only sees that the connection ends.
func (p *Proxy) Swallow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = n
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // it was closed
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.group.Go(func() { p.copy(server, client, false) })
		p.group.Go(func() { p.copy(client, server, true) })
	}
}

func (p *Proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if answers && !p.pass() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits as an answer has to, and reports whether it goes on.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	delay, mute := p.delay, p.mute > 0
	if mute {
		p.mute--
	}
	p.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-p.ended:
		}
	}
	return !mute
}
