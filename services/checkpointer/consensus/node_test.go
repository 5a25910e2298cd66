package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// list is a state machine that keeps all commands.
type list struct {
	mu   sync.Mutex
	text []string
}

func (l *list) Apply(log *raft.Log) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(log.Data))
	return len(l.text)
}
func (l *list) all() []string { l.mu.Lock(); defer l.mu.Unlock(); return slices.Clone(l.text) }

func (l *list) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("not needed") }
func (l *list) Restore(io.ReadCloser) error         { return errors.New("not needed") }

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func open(t testing.TB, cfg Config) (*Node, *list) {
	t.Helper()
	l := &list{}
	cfg.FSM, cfg.Log = l, quiet
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n, l
}

func closed(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Close(within(t)); err != nil {
		t.Error(err)
	}
}

func lead(t testing.TB, n *Node) Leadership {
	t.Helper()
	for {
		select {
		case l := <-n.Leadership():
			if l.Leader {
				return l
			}
		case <-within(t).Done():
			t.Fatal("nobody leads")
		}
	}
}

func apply(t testing.TB, n *Node, command string) {
	t.Helper()
	if _, _, err := n.Apply(within(t), []byte(command)); err != nil {
		t.Fatal(err)
	}
}

// A group of one leads at once, and keeps its state over a restart.
func TestAlone(t *testing.T) {
	cfg := Config{ID: "a", Dir: t.TempDir()}
	n, _ := open(t, cfg)
	first := lead(t, n)
	apply(t, n, "one")
	apply(t, n, "two")
	closed(t, n)
	n, l := open(t, cfg)
	defer closed(t, n)
	if again := lead(t, n); again.Term <= first.Term {
		t.Errorf("term %d after %d", again.Term, first.Term)
	}
	if got := l.all(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("%q", got)
	}
	if _, err := Open(Config{ID: "a", Dir: cfg.Dir, FSM: &list{}, Log: quiet}); err == nil {
		t.Error("two processes on one folder")
	}
}

// group opens n members on loopback.
func group(t *testing.T, n int) ([]*Node, []*list) {
	t.Helper()
	return groupOf(t, n, func(*Config) {})
}

// groupOf is like group, and changes the configuration of each member.
func groupOf(t *testing.T, n int, change func(*Config)) ([]*Node, []*list) {
	t.Helper()
	var peers []Peer
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, Peer{fmt.Sprint("n", i), l.Addr().String()})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	nodes, lists := make([]*Node, n), make([]*list, n)
	for i, p := range peers {
		cfg := Config{ID: p.ID, Dir: t.TempDir(), Listen: p.Address, Peers: peers}
		change(&cfg)
		nodes[i], lists[i] = open(t, cfg)
	}
	return nodes, lists
}

// leaderOf waits until one of the members leads.
func leaderOf(t *testing.T, nodes []*Node) int {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		for i, n := range nodes {
			if n != nil && n.VerifyLeader(within(t)) == nil {
				return i
			}
		}
	}
	t.Fatal("nobody leads")
	return 0
}

func TestThree(t *testing.T) {
	nodes, lists := group(t, 3)
	first := onLeader(t, nodes, func(leader int) error { return applied(t, nodes[leader], "one") })
	if _, _, err := nodes[(first+1)%3].Apply(within(t), []byte("no")); err == nil && nodes[first].VerifyLeader(within(t)) == nil {
		t.Error("a follower applies")
	}
	onLeader(t, nodes, func(leader int) error {
		return nodes[leader].Transfer(within(t), nodes[(leader+1)%3].ID())
	})
	onLeader(t, nodes, func(leader int) error { return applied(t, nodes[leader], "two") })
	onLeader(t, nodes, func(leader int) error {
		err := nodes[leader].AddPeer(within(t), control.Peer{ID: "n9", Address: "127.0.0.1:1"})
		if err == nil && len(nodes[leader].Status().Peers) != 4 {
			t.Errorf("members %v", nodes[leader].Status().Peers)
		}
		return err
	})
	second := onLeader(t, nodes, func(leader int) error { return nodes[leader].RemovePeer(within(t), "n9") })
	closed(t, nodes[second])
	nodes[second] = nil
	third := onLeader(t, nodes, func(leader int) error { return applied(t, nodes[leader], "three") })
	// A command whose leader fell may be there twice.
	if got := slices.Compact(lists[third].all()); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("%q", got)
	}
	for i, n := range nodes {
		if n != nil && i != third {
			closed(t, n)
		}
	}
	// A minority commits nothing.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, _, err := nodes[third].Apply(ctx, []byte("alone")); err == nil {
		t.Error("one of three has committed")
	}
	closed(t, nodes[third])
}

// A member that was away while the members changed learns of it from the leader, and says
// that its configuration is old.
func TestPeersOfAMemberThatWasAway(t *testing.T) {
	var configs []Config
	nodes, _ := groupOf(t, 3, func(c *Config) { configs = append(configs, *c) })
	away := (leaderOf(t, nodes) + 1) % 3
	onLeader(t, nodes, func(leader int) error { return applied(t, nodes[leader], "one") })
	closed(t, nodes[away])
	nodes[away] = nil
	onLeader(t, nodes, func(leader int) error {
		return nodes[leader].AddPeer(within(t), control.Peer{ID: "n9", Address: "127.0.0.1:1"})
	})
	said := make(said, 100)
	cfg := configs[away]
	cfg.FSM, cfg.Log = &list{}, slog.New(slog.NewTextHandler(said, nil))
	var err error
	if nodes[away], err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	for line := ""; !strings.Contains(line, "raft.peers differ") || !strings.Contains(line, "n9=127.0.0.1:1"); {
		select {
		case line = <-said:
		case <-within(t).Done():
			t.Fatal("no warning")
		}
	}
	for _, n := range nodes {
		closed(t, n)
	}
}

// said receives the first lines of a log.
type said chan string

func (s said) Write(line []byte) (int, error) {
	select {
	case s <- string(line):
	default:
	}
	return len(line), nil
}

// onLeader calls do with a leader until it succeeds, and returns that leader: on a busy machine,
// others may take over at any time.
func onLeader(t *testing.T, nodes []*Node, do func(leader int) error) int {
	t.Helper()
	for {
		i := leaderOf(t, nodes)
		err := do(i)
		if err == nil {
			return i
		}
		if nodes[i].VerifyLeader(within(t)) == nil && !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
	}
}

func applied(t *testing.T, n *Node, command string) error {
	t.Helper()
	_, _, err := n.Apply(within(t), []byte(command))
	return err
}

// A change that would leave the group without a majority is refused, because it could not be
// undone. The error names the member.
func TestMembersThatWouldEndTheGroup(t *testing.T) {
	alone, _ := open(t, Config{ID: "a", Dir: t.TempDir()})
	defer closed(t, alone)
	lead(t, alone)
	nodes, _ := group(t, 2)
	leader := leaderOf(t, nodes)
	two, other := nodes[leader], nodes[1-leader]
	silent := control.Peer{ID: "n9", Address: "127.0.0.1:1", Voter: true}
	for name, x := range map[string]struct {
		code, text string
		change     func() error
	}{
		"add to one process":     {control.CodeInvalid, "has no address for others", func() error { return alone.AddPeer(within(t), silent) }},
		"add without a port":     {control.CodeInvalid, "HOST:PORT", func() error { return two.AddPeer(within(t), control.Peer{ID: "n9", Address: "y"}) }},
		"move to nowhere":        {control.CodeInvalid, "n9", func() error { m := silent; m.ID = other.ID(); return two.AddPeer(within(t), m) }},
		"remove the last":        {control.CodeInvalid, "at least one voter", func() error { return alone.RemovePeer(within(t), "a") }},
		"remove a stranger":      {control.CodeNotFound, "no member", func() error { return two.RemovePeer(within(t), "n9") }},
		"transfer to a stranger": {control.CodeNotFound, "no member", func() error { return two.Transfer(within(t), "n9") }},
		"transfer while alone":   {control.CodeInvalid, "only voter", func() error { return alone.Transfer(within(t), "") }},
	} {
		if name == "move to nowhere" {
			x.text = other.ID() + " at 127.0.0.1:1"
		}
		if err := x.change(); control.Code(err) != x.code || !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := two.AddPeer(within(t), silent); err != nil { // two of three are a majority
		t.Error(err)
	}
	apply(t, two, "agreed")
	closed(t, other)
	for name, err := range map[string]error{
		"a second":   two.AddPeer(within(t), control.Peer{ID: "n8", Address: "127.0.0.1:1", Voter: true}),
		"remove one": two.RemovePeer(within(t), two.ID()),
	} {
		if control.Code(err) != control.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	closed(t, two)
}

func TestDamagedEntryIsNamed(t *testing.T) {
	s, err := openLog(t.TempDir()+"/log.db", false, true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	want := raft.Log{Index: 7, Term: 3, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("more"), AppendedAt: time.Unix(5, 6)}
	data := encodeEntry(&want)
	var got raft.Log
	if err := decodeEntry(data, &got); err != nil || string(got.Data) != "data" || string(got.Extensions) != "more" || got.Term != 3 || !got.AppendedAt.Equal(want.AppendedAt) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if decodeEntry(data, &got) == nil {
				t.Fatalf("bit %d of byte %d is flipped, and not noticed", bit, i)
			}
			data[i] ^= 1 << bit
		}
		if decodeEntry(data[:i], &got) == nil {
			t.Fatalf("cut at %d, and not noticed", i)
		}
	}
}

// Every request gets some answer, even if the member is stopping.
func TestEveryQuestionIsAnswered(t *testing.T) {
	for range 20 {
		n, _ := open(t, Config{ID: "a", Dir: t.TempDir()})
		lead(t, n)
		var asking sync.WaitGroup
		for range 32 {
			asking.Go(func() {
				for {
					if err := n.VerifyLeader(context.Background()); err != nil {
						return
					}
				}
			})
		}
		closed(t, n)
		asking.Wait()
	}
}
