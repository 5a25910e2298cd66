package faults

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

// links are all connections between the processes of a fleet. Each process is reached through an
// address of links, which identify the caller, so every pair can be cut apart. Data in flight is
// kept, and delivered when the pair is joined again.
type links struct {
	t         *testing.T
	listeners []net.Listener
	done      sync.WaitGroup

	mu      sync.Mutex
	names   map[int]string // names of processes, by process id
	cut     func(from, to string) bool
	changed chan struct{} // closed when cut changes
	conns   map[net.Conn]bool
	closed  bool
}

func newLinks(t *testing.T) *links {
	l := &links{t: t, names: map[int]string{}, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	t.Cleanup(l.close)
	return l
}

// to returns an address that forwards to a process.
func (l *links) to(name, address string) string {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(l.t, err)
	l.listeners = append(l.listeners, listener)
	l.done.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.done.Go(func() { l.join(c, name, address) })
		}
	})
	return listener.Addr().String()
}

// know records which process currently has a name.
func (l *links) know(name string, pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[pid] = name
}

// sever cuts the pairs that cut selects, in either direction; nil cuts none.
func (l *links) sever(cut func(from, to string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	close(l.changed)
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	for _, listener := range l.listeners {
		_ = listener.Close()
	}
	l.done.Wait()
}

// open waits until a pair is joined. It returns false at the end of the test.
func (l *links) open(from, to string) bool {
	for {
		l.mu.Lock()
		cut, changed, closed := l.cut != nil && (l.cut(from, to) || l.cut(to, from)), l.changed, l.closed
		l.mu.Unlock()
		if closed || !cut {
			return !closed
		}
		<-changed
	}
}

func (l *links) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return false
	}
	l.conns[c] = true
	return true
}

func (l *links) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	_ = c.Close()
}

func (l *links) join(c net.Conn, name, address string) {
	if !l.keep(c) {
		return
	}
	defer l.drop(c)
	from := l.caller(c.RemoteAddr().String())
	if !l.open(from, name) {
		return
	}
	other, err := net.Dial("tcp", address)
	if err != nil || !l.keep(other) {
		return
	}
	defer l.drop(other)
	var both sync.WaitGroup
	both.Go(func() { l.pass(c, other, from, name) })
	both.Go(func() { l.pass(other, c, name, from) })
	both.Wait()
}

// pass copies from a to b while the two are joined, including the end of the stream.
func (l *links) pass(a, b net.Conn, from, to string) {
	buf := make([]byte, 64<<10)
	for {
		n, err := a.Read(buf)
		if !l.open(from, to) {
			return
		}
		if n > 0 {
			if _, failed := b.Write(buf[:n]); failed != nil {
				err = failed
			}
		}
		if err != nil {
			l.drop(a)
			l.drop(b)
			return
		}
	}
}

// caller returns the name of the process at the other end of a connection, or "".
func (l *links) caller(remote string) string {
	inode := socketOf(remote)
	if inode == "" {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid, name := range l.names {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, _ := os.ReadDir(dir) // none if the process is gone
		for _, f := range files {
			if to, _ := os.Readlink(dir + "/" + f.Name()); to == "socket:["+inode+"]" {
				return name
			}
		}
	}
	return ""
}

// socketOf returns the inode number of the socket with a local loopback address.
func socketOf(address string) string {
	a, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return ""
	}
	ip := a.IP.To4()
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
	table, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer table.Close()
	for scan := bufio.NewScanner(table); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) > 9 && fields[1] == local {
			return fields[9]
		}
	}
	return ""
}
