package wal

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// What a proxy can lose, by what is in it.
const (
	acknowledgement = `"seq":`
	newConsumer     = "consumer_create_response"
)

// proxy stands between a client and a server, and loses some answers.
type proxy struct {
	listener net.Listener
	server   string
	what     []byte
	lose     atomic.Int32 // that many of them are not passed on
	cut      bool         // and the connection is cut instead

	mu    sync.Mutex
	conns []net.Conn
	group sync.WaitGroup
}

func startProxy(t testing.TB, serverURL, what string, cut bool) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: strings.TrimPrefix(serverURL, "nats://"), what: []byte(what), cut: cut}
	p.group.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.group.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.group.Go(func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		})
		p.group.Go(func() {
			p.passAnswers(client, server)
			_ = client.Close()
			_ = server.Close()
		})
	}
}

func (p *proxy) passAnswers(client, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], p.what) && p.lose.Load() > 0 {
			p.lose.Add(-1)
			if p.cut {
				return
			}
			continue
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
