package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	results = 2000
	kills   = 20
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program returns a program of Postgres, as a user other than root, which Postgres refuses.
func program(t *testing.T, ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			t.Fatalf("%v: install the package postgresql", err)
		}
		file = found[len(found)-1]
	}
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Dir = dir
	if os.Getuid() == 0 {
		u, err := user.Lookup("nobody")
		must(t, err)
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		must(t, os.Chown(dir, uid, gid))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

// startPostgres starts a server and returns its URL. The test stops it.
func startPostgres(t *testing.T, ctx context.Context) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postgres")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	if out, err := program(t, ctx, dir, "initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	cmd := program(t, ctx, dir, "postgres", "-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", dir)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	url := fmt.Sprintf("postgres://test@127.0.0.1:%d/postgres?sslmode=disable", port)
	for {
		db, err := pgx.Connect(ctx, url)
		if err == nil {
			must(t, db.Close(ctx))
			return url
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestEachResultOnce kills the bridge again and again while results come. In the end each result
// is in the database once.
func TestEachResultOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	url := startPostgres(t, ctx)
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	must(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	nc, err := nats.Connect(srv.ClientURL(), nats.RetryOnFailedConnect(true))
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "EFO_shop_0", Subjects: []string{"out.shop.*.0", "ef.fence.shop.0"}})
	must(t, err)
	binary := filepath.Join(t.TempDir(), "bridge")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, "--nats", srv.ClientURL(), "--stream", "EFO_shop_0", "--subject", "out.shop.Totals.0", "--to", url)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		return cmd
	}
	published := 0
	publish := func(n int) {
		for range n {
			published++
			_, err := js.PublishMsg(ctx, &nats.Msg{
				Subject: "out.shop.Totals.0", Data: fmt.Appendf(nil, `{"shop":"s%d","total":%d}`, published%7, published),
				Header: nats.Header{"Ef-Generation": {"1"}, "Ef-Position": {fmt.Sprintf("%d.0", published)}},
			})
			must(t, err)
		}
	}
	db, err := pgx.Connect(ctx, url)
	must(t, err)
	defer db.Close(ctx)
	_, err = db.Exec(ctx, tables)
	must(t, err)
	for range kills {
		from := published
		cmd := run()
		publish(results / kills)
		// Any result may be the last.
		awaitNewest(t, ctx, db, from+rand.IntN(results/kills))
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	cmd := run()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for {
		var count, newest int64
		must(t, db.QueryRow(ctx, "select coalesce(sum(results), 0), coalesce(max(total), 0)::bigint from totals").Scan(&count, &newest))
		if count > results || count == results && newest != results {
			t.Fatalf("%d results in the database, the newest %d; %d were published", count, newest, results)
		}
		if count == results {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d results in the database; %d were published", count, results)
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Logf("%d results, %d kills", published, kills)
}

// awaitNewest waits until the database has a result at least as new as this one.
func awaitNewest(t *testing.T, ctx context.Context, db *pgx.Conn, result int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var newest int
		must(t, db.QueryRow(ctx, "select coalesce(max(total), 0)::bigint from totals").Scan(&newest))
		if newest >= result {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the newest result in the database is %d, want %d", newest, result)
		case <-tick.C:
		}
	}
}
