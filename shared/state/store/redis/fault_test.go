package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/redistest"
)

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// lastStep is the last step of a commit alone. What its first ones look at may change
// before it comes.
func lastStep(t *testing.T, s *Store, c store.Commit, known store.Head) error {
	t.Helper()
	return s.on(within(t), s.headKey(c.App), func(conn *goredis.Conn) error {
		u := s.upload(c.Name, c.Manifest)
		answer, err := commitScript.Run(within(t), conn, append(u.keys, s.headKey(c.App)), commitArgs(&c, known, u)...).StringSlice()
		if err == nil {
			_, err = s.answered(&c, known, answer)
		}
		return err
	})
}

// A commit that another one overtakes is refused by its last step, and leaves nothing.
func TestOvertakenCommit(t *testing.T) {
	const far = 1<<64 - 2 // past what a script's numbers can tell apart
	server := redistest.Start(t)
	s := openAt(t, server.URL())
	must(t, s.Commit(within(t), commitOf(far, far)))
	wantErr(t, "an older term", lastStep(t, s, commitOf(far-1, far+1), store.Head{}), store.ErrFenced)
	wantErr(t, "an older epoch", lastStep(t, s, commitOf(far, far-1), store.Head{}), store.ErrFenced)
	other := commitOf(far, far)
	other.Name += "-other"
	wantErr(t, "another commit of the epoch", lastStep(t, s, other, store.Head{}), store.ErrFenced)
	ahead := commitOf(far, far+1)
	ahead.Name, ahead.Replaces = ahead.Name+"-merged", ahead.Name
	wantErr(t, "a swap of an epoch that is not there", lastStep(t, s, ahead, store.Head{}), store.ErrFenced)
	late := commitOf(far-1, far)
	late.Name, late.Replaces = late.Name+"-merged", late.Name
	wantErr(t, "a swap of an older term", lastStep(t, s, late, store.Head{}), store.ErrFenced)
	wantKeys(t, server, "eventflux:o:*", 1)
	wantHead(t, s, far, far)
	must(t, lastStep(t, s, commitOf(far, far), store.Head{Term: far, Epoch: far}))
	must(t, lastStep(t, s, commitOf(far+1, far+1), store.Head{Term: far, Epoch: far}))
	wantHead(t, s, far+1, far+1)
}

// A Redis that was restarted without what it had takes no commit from a process that
// knows of one.
func TestRestartWithoutPersistenceIsNoticed(t *testing.T) {
	server := redistest.Start(t)
	s := openAt(t, server.URL())
	must(t, s.Commit(within(t), commitOf(3, 5)))
	server.Kill()
	server.Start()
	_, err := s.Head(within(t), "app")
	wantErr(t, "the head", err, store.ErrLost)
	wantErr(t, "a commit", s.Commit(within(t), commitOf(3, 6)), store.ErrLost)
	wantErr(t, "a fence", s.Commit(within(t), store.Commit{App: "app", Term: 4}), store.ErrLost)
	wantErr(t, "the script of a commit", lastStep(t, s, commitOf(3, 6), store.Head{Term: 3, Epoch: 5}), store.ErrLost)
	wantKeys(t, server, "eventflux:[oh]:*", 0)
	wantHead(t, openAt(t, server.URL()), 0, 0)
}

// A replica that was behind when it took over is no better.
func TestReplicaThatWasBehindIsNoticed(t *testing.T) {
	master := redistest.Start(t)
	link := redistest.Link(t, master)
	s := openAt(t, "redis://"+link.Addr)
	replica := master.Replica()
	must(t, s.Commit(within(t), commitOf(1, 1)))
	replica.Until("the replica has the commit", func(ctx context.Context, c *goredis.Client) bool {
		return c.HGet(ctx, s.headKey("app"), "epoch").Val() == "1"
	})
	replica.Do("REPLICAOF", "NO", "ONE")
	must(t, s.Commit(within(t), commitOf(1, 2)))
	link.Lead(replica)
	wantErr(t, "a commit", s.Commit(within(t), commitOf(1, 3)), store.ErrLost)
	link.Lead(master)
	must(t, s.Commit(within(t), commitOf(1, 3)))
}

// After a crash at any moment, every acknowledged object is there, and any other object is
// there as a whole or not at all.
func TestKillLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	server := redistest.Start(t, redistest.Durable...)
	s := openAt(t, server.URL("timeout=2s"))
	var epoch, acked uint64
	for range 8 {
		ctx, cancel := context.WithCancel(within(t))
		var group sync.WaitGroup
		put := map[string][]byte{} // since the last commit
		begun := make(chan struct{}, 1)
		group.Go(func() {
			for ctx.Err() == nil {
				epoch++
				for name, data := range contentOf(epoch) {
					if s.Put(ctx, name, data) == nil {
						put[name] = data
					}
				}
				if checkpointOf(ctx, s, epoch) == nil {
					acked = epoch
					clear(put)
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
		<-begun
		<-time.After(time.Duration(rnd.IntN(100)) * time.Millisecond)
		server.Kill()
		cancel()
		group.Wait()
		server.Start()
		for name, data := range put {
			wantSame(t, s, name, data)
		}
		head, err := s.Head(within(t), "app")
		must(t, err)
		if head.Epoch < acked || head.Epoch > epoch {
			t.Fatalf("the head is epoch %d; %d was acknowledged, and %d tried", head.Epoch, acked, epoch)
		}
		if head.Epoch == 0 {
			continue
		}
		for name, data := range contentOf(head.Epoch) {
			wantSame(t, s, name, data)
		}
		wantSame(t, s, head.Name, commitOf(1, head.Epoch).Manifest)
	}
	if acked == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d checkpoints, %d acknowledged", epoch, acked)
}

func contentOf(epoch uint64) map[string][]byte {
	return map[string][]byte{
		fmt.Sprintf("blocks/%d-a", epoch): fmt.Appendf(nil, "a of %d", epoch), fmt.Sprintf("blocks/%d-b", epoch): large(byte(epoch)),
	}
}

func checkpointOf(ctx context.Context, s *Store, epoch uint64) error {
	var names []string
	for name, data := range contentOf(epoch) {
		if err := s.Put(ctx, name, data); err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
		names = append(names, name)
	}
	return s.Commit(ctx, commitOf(1, epoch, names...))
}

// A master that dies is replaced, and what its replicas have confirmed is there.
func TestSentinelFailover(t *testing.T) {
	master := redistest.Start(t)
	replicas := []*redistest.Server{master.Replica(), master.Replica()}
	sentinels := redistest.Sentinels(t, "main", master, 3, len(replicas))
	s := openAt(t, sentinels[0].URL("master=main", "replicas=1", "timeout=2s", "addr="+sentinels[1].Addr, "addr="+sentinels[2].Addr))
	must(t, checkpointOf(within(t), s, 1))
	wantHead(t, s, 1, 1)
	master.Kill()
	ctx := within(t)
	failed := 0
	for err := checkpointOf(ctx, s, 2); err != nil; err = checkpointOf(ctx, s, 2) {
		if failed++; ctx.Err() != nil || errors.Is(err, store.ErrLost) {
			t.Fatal(err)
		}
	}
	t.Logf("%d attempts failed before the failover was done", failed)
	for epoch := range uint64(2) {
		for name, data := range contentOf(epoch + 1) {
			wantSame(t, s, name, data)
		}
	}
	wantHead(t, s, 1, 2)
	master.Start() // it comes back, and follows
	master.Says("role:slave")
	must(t, checkpointOf(within(t), s, 3))
}

// The same in a Cluster, whose nodes replace each other.
func TestClusterFailover(t *testing.T) {
	nodes := redistest.Cluster(t, 3)
	redistest.ClusterReplicas(t, nodes)
	strict := openAt(t, nodes[0].URL("cluster=true", "replicas=1"))
	must(t, checkpointOf(within(t), strict, 1))
	s := openAt(t, nodes[0].URL("cluster=true", "addr="+nodes[1].Addr, "addr="+nodes[2].Addr, "timeout=2s"))
	wantHead(t, s, 1, 1)
	slot := nodes[0].Do("CLUSTER", "KEYSLOT", s.headKey("app")).(int64)
	nodes[slot*3/16384].Kill()
	ctx := within(t)
	for err := checkpointOf(ctx, s, 2); err != nil; err = checkpointOf(ctx, s, 2) {
		if ctx.Err() != nil || errors.Is(err, store.ErrLost) {
			t.Fatal(err)
		}
	}
	for epoch := range uint64(2) {
		for name, data := range contentOf(epoch + 1) {
			wantSame(t, s, name, data)
		}
	}
	wantHead(t, s, 1, 2)
	wantErr(t, "a commit without a replica", strict.Commit(within(t), commitOf(1, 3)), errReplicas)
}

// A write that too few replicas have is no success.
func TestTooFewReplicas(t *testing.T) {
	master := redistest.Start(t)
	replica := master.Replica()
	s := openAt(t, master.URL("replicas=1", "timeout=500ms"))
	must(t, s.Put(within(t), block(1), []byte("x")))
	must(t, s.Commit(within(t), commitOf(1, 1, block(1))))
	replica.Kill()
	for what, err := range map[string]error{
		"a put":       s.Put(within(t), block(2), []byte("x")),
		"a put again": s.Put(within(t), block(1), []byte("x")),
		"a fence":     s.Commit(within(t), store.Commit{App: "app", Term: 1}),
		"a commit":    s.Commit(within(t), commitOf(1, 2)),
		"its objects": s.keep(within(t), []string{block(1)}),
	} {
		wantErr(t, what, err, errReplicas)
	}
	openAt(t, master.URL("replicas=2", "timeout=500ms")) // what is there can be read
	replica.Start()
	replica.Says("master_link_status:up")
	for ctx := within(t); ; {
		err := s.Commit(ctx, commitOf(1, 2, block(1)))
		if err == nil {
			return
		}
		if wantErr(t, "a commit", err, errReplicas); ctx.Err() != nil {
			t.Fatal("the replica does not catch up")
		}
	}
}

// A link that is too slow gives an error in time, and nothing that is half there.
func TestSlowLink(t *testing.T) {
	server := redistest.Start(t)
	link := redistest.Link(t, server)
	s := openAt(t, "redis://"+link.Addr+"?timeout=400ms")
	must(t, checkpointOf(within(t), openAt(t, server.URL()), 1))
	link.Slow(time.Hour)
	for what, do := range map[string]func() error{
		"put":    func() error { return s.Put(within(t), block(1), []byte("x")) },
		"large":  func() error { return s.Put(within(t), block(2), large(2)) },
		"get":    func() error { _, err := s.Get(within(t), "blocks/1-b"); return err },
		"list":   func() error { return s.List(within(t), "", func(store.Object) error { return nil }) },
		"commit": func() error { return s.Commit(within(t), commitOf(1, 2)) },
		"script": func() error { // a commit whose link slows down before its last step
			return lastStep(t, s, commitOf(1, 2), store.Head{})
		},
	} {
		if err, want := do(), "no answer within 400ms"; !contains(err, want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	link.Slow(0)
	head, err := s.Head(within(t), "app")
	must(t, err)
	if head.Epoch == 2 {
		wantSame(t, s, head.Name, commitOf(1, 2).Manifest)
	}
	must(t, s.Commit(within(t), commitOf(1, 2)))
	wantSame(t, s, commitOf(1, 2).Name, commitOf(1, 2).Manifest)
}

// Where only the answer is lost, sending it again does no harm.
func TestLostAnswers(t *testing.T) {
	server := redistest.Start(t)
	link := redistest.Link(t, server)
	s := openAt(t, "redis://"+link.Addr)
	data := large(9)
	for lost := range 4 {
		epoch := uint64(lost + 1)
		link.Swallow(lost)
		must(t, s.Put(within(t), block(lost), []byte("x")))
		link.Swallow(lost)
		if err := s.Put(within(t), "large/"+block(lost), data); err != nil && !errors.Is(err, store.ErrExists) {
			t.Error(err)
		}
		link.Swallow(lost)
		must(t, s.Commit(within(t), commitOf(1, epoch, block(lost), "large/"+block(lost))))
		link.Swallow(lost)
		wantHead(t, s, 1, epoch)
		link.Swallow(lost)
		wantSame(t, s, "large/"+block(lost), data)
		link.Swallow(lost)
		must(t, s.List(within(t), "", func(store.Object) error { return nil }))
	}
}

// A Redis that is full says so and keeps what it has; with more room it goes on.
func TestFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "24mb", "--maxmemory-policy", "noeviction")
	s := openAt(t, server.URL())
	must(t, checkpointOf(within(t), s, 1))
	var err error
	for i := 0; err == nil && i < 10; i++ {
		err = s.Put(within(t), block(i), large(byte(i)))
	}
	wantErr(t, "put", err, store.ErrFull)
	server.Do("CONFIG", "SET", "maxmemory", "1mb") // not even a small one has room
	wantErr(t, "put", s.Put(within(t), "small", []byte("x")), store.ErrFull)
	wantErr(t, "commit", s.Commit(within(t), commitOf(1, 2, "blocks/1-a")), store.ErrFull)
	again := openAt(t, server.URL()) // what is there can be read
	wantHead(t, again, 1, 1)
	for name, data := range contentOf(1) {
		wantSame(t, again, name, data)
	}
	must(t, s.Delete(within(t), block(0), time.Time{}))
	wantKeys(t, server, "eventflux:*{blocks/00*", 6)
	server.Do("CONFIG", "SET", "maxmemory", "24mb")
	must(t, s.Commit(within(t), commitOf(1, 2, "blocks/1-a")))
}

// If two leaders commit the same epochs, each epoch goes to one of them, and none to the
// older leader once the newer one has started.
func TestLeadersRace(t *testing.T) {
	server := redistest.Start(t)
	const epochs = 60
	outcomes := [3][epochs + 1]error{}
	var fenced atomic.Bool
	underWay := make(chan struct{})
	lead := func(s *Store, term uint64, before func(epoch int)) {
		for epoch := 1; epoch <= epochs; epoch++ {
			before(epoch)
			late := term == 1 && fenced.Load()
			c := commitOf(term, uint64(epoch))
			c.Name = fmt.Sprintf("apps/app/%d-%d", epoch, term)
			outcomes[term][epoch] = s.Commit(context.Background(), c)
			if late && outcomes[term][epoch] == nil {
				t.Errorf("epoch %d went to the older leader after the newer one had started", epoch)
			}
		}
	}
	older, newer := openAt(t, server.URL()), openAt(t, server.URL())
	var group sync.WaitGroup
	group.Go(func() {
		lead(older, 1, func(epoch int) {
			if epoch == 10 {
				close(underWay)
			}
		})
	})
	group.Go(func() {
		<-underWay
		if err := newer.Commit(context.Background(), store.Commit{App: "app", Term: 2}); err != nil {
			t.Error(err)
		}
		fenced.Store(true)
		lead(newer, 2, func(int) {})
	})
	group.Wait()
	for epoch := 1; epoch <= epochs; epoch++ {
		of1, of2 := outcomes[1][epoch], outcomes[2][epoch]
		switch {
		case of1 == nil && of2 == nil, of1 != nil && of2 != nil:
			t.Errorf("epoch %d: %v and %v", epoch, of1, of2)
		case of1 != nil && !errors.Is(of1, store.ErrFenced), of2 != nil && !errors.Is(of2, store.ErrFenced):
			t.Errorf("epoch %d: %v, %v", epoch, of1, of2)
		}
	}
	wantHead(t, newer, 2, epochs)
}

// A read of an object during its replacement gets the old or the new object.
func TestReadersSeeWholeObjects(t *testing.T) {
	server := redistest.Start(t)
	s := openAt(t, server.URL())
	want := [][]byte{large(1), large(2)}
	ctx, stop := context.WithCancel(within(t))
	turn := make(chan struct{}, 1)
	var group sync.WaitGroup
	for _, data := range want {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := s.Put(ctx, "x", data); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrExists) {
					t.Error(err)
				}
				select { // so that it is there for some readers, and goes while another reads
				case <-turn:
				case <-ctx.Done():
				}
				if err := s.Delete(ctx, "x", time.Time{}); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	found := 0
	for found < 30 {
		got, err := s.Get(ctx, "x")
		select {
		case turn <- struct{}{}:
		default:
		}
		switch {
		case err == nil && (bytes.Equal(got, want[0]) || bytes.Equal(got, want[1])):
			found++
		case !errors.Is(err, store.ErrNotFound):
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	stop()
	group.Wait()
	must(t, s.Delete(within(t), "x", time.Time{}))
	if keys := len(server.Do("KEYS", "eventflux:p:*").([]any)); keys > 10 { // of the two puts that were cancelled
		t.Errorf("%d pieces are left", keys)
	}
}

// Slots that move while a store is open do not disturb it.
func TestSlotsMove(t *testing.T) {
	nodes := redistest.Cluster(t, 2)
	s := openAt(t, nodes[0].URL("cluster=true"))
	must(t, checkpointOf(within(t), s, 1))
	for _, key := range []string{s.headKey("app"), s.keysOf("blocks/1-a")[0], s.keysOf("blocks/1-b")[0], s.keysOf("blocks/2-b")[0]} {
		moveSlot(t, nodes, key)
	}
	for name, data := range contentOf(1) {
		wantSame(t, s, name, data)
	}
	must(t, checkpointOf(within(t), s, 2))
	wantHead(t, s, 1, 2)
}

// moveSlot gives the slot of a key to the other of two nodes.
func moveSlot(t *testing.T, nodes []*redistest.Server, key string) {
	t.Helper()
	slot := nodes[0].Do("CLUSTER", "KEYSLOT", key).(int64)
	from, to := nodes[0], nodes[1]
	if slot >= 8192 {
		from, to = to, from
	}
	fromID, toID := from.Do("CLUSTER", "MYID"), to.Do("CLUSTER", "MYID")
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	for _, k := range from.Do("CLUSTER", "GETKEYSINSLOT", slot, 1000).([]any) {
		from.Do("MIGRATE", "127.0.0.1", to.Port, k, 0, 5000)
	}
	to.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
	from.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
}
