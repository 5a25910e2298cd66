package natsconn

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/eventflux/eventflux/shared/ops/space"
)

const (
	payloadBytesMax = 8 << 20
	readyTimeout    = 30 * time.Second // a large store is read before the server is ready
)

// EmbeddedName is the name of an embedded server that is given none.
const EmbeddedName = "eventflux"

// BatchMessagesMax is how many messages an embedded server takes in an atomic
// batch; the default of servers is 1,000. What each batch costs in syncs, however
// small it is, is a quarter of the work at 1,000 messages.
const BatchMessagesMax = 4000

// ErrInUse is returned by OpenEmbedded when another process has the folder or
// the address. Stop that process, or choose another.
var ErrInUse = errors.New("in use")

// EmbeddedConfig says how to start a server in the process.
type EmbeddedConfig struct {
	// Dir is the folder of JetStream's files. It is made if missing, and locked:
	// two servers on one folder would destroy it.
	Dir string
	// Listen is host:port for other processes; port 0 takes a free one, and the
	// empty string listens nowhere.
	Listen string
	// Access says who may connect to Listen.
	Access Access
	// Durability says when the server syncs; zero is Durable.
	Durability Durability
	// StoreBytesMax bounds JetStream's files; zero is the size of the disk. The server's
	// default, 75 % of what is free, would depend on how full the disk was at the start.
	StoreBytesMax int64
	// Name of the server; empty is "eventflux".
	Name string
	// Log is where the server's log goes; nil is slog.Default.
	Log *slog.Logger
	// Before runs when the folder is locked and the server has not opened its files; nil runs
	// nothing. With its error nothing is started.
	Before func() error
}

// ErrNoRoom is returned by Health while JetStream takes nothing, since its disk had no room.
// Once it has, Restart.
var ErrNoRoom = errors.New("it takes nothing since its disk had no room")

// Embedded is a NATS server with JetStream in this process.
type Embedded struct {
	srv       *server.Server
	jetstream server.JetStreamConfig
	before    func() error
	log       *serverLog
	lock      *os.File
	reopening atomic.Bool  // Restart was called, and JetStream is still off
	own       *server.User // of connections within the process; nil where they need none
}

// OpenEmbedded starts a server and returns once JetStream is ready. An address or
// a folder that another process uses is ErrInUse; whatever else the server
// regards as fatal is an error as well, and never ends the process.
func OpenEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	opts, own, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	e := &Embedded{
		jetstream: server.JetStreamConfig{StoreDir: opts.StoreDir, MaxStore: opts.JetStreamMaxStore},
		before:    cfg.Before, log: &serverLog{log: log}, lock: lock, own: own,
	}
	if e.before == nil {
		e.before = func() error { return nil }
	}
	if err := e.before(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if err := e.start(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded NATS in %s: %w", cfg.Dir, err), e.Close())
	}
	return e, nil
}

func (cfg EmbeddedConfig) options() (*server.Options, *server.User, error) {
	if cfg.Dir == "" {
		return nil, nil, errors.New("no folder given for its files")
	}
	if cfg.StoreBytesMax < 0 {
		return nil, nil, fmt.Errorf("limit of its files is %d bytes, want 0 or more", cfg.StoreBytesMax)
	}
	opts := &server.Options{
		ServerName:        cfg.Name,
		JetStream:         true,
		StoreDir:          cfg.Dir,
		JetStreamMaxStore: cfg.StoreBytesMax,
		MaxPayload:        payloadBytesMax,
		NoSigs:            true, // or the server handles the process's signals, and exits
		DontListen:        cfg.Listen == "",
	}
	if opts.JetStreamMaxStore == 0 {
		opts.JetStreamMaxStore = sizeOfDisk(cfg.Dir)
	}
	opts.JetStreamLimits.MaxBatchSize = BatchMessagesMax
	if opts.ServerName == "" {
		opts.ServerName = EmbeddedName
	}
	switch {
	case cfg.Durability == 0:
		Durable.apply(opts)
	case cfg.Durability.Valid():
		cfg.Durability.apply(opts)
	default:
		return nil, nil, fmt.Errorf("unknown %s", cfg.Durability)
	}
	if opts.DontListen {
		return opts, nil, nil
	}
	own, err := cfg.Access.apply(opts)
	if err != nil {
		return nil, nil, err
	}
	return opts, own, listenOn(opts, cfg.Listen)
}

// sizeOfDisk returns the size of the disk that has a folder, or will have it; 0 if it is not
// known.
func sizeOfDisk(dir string) int64 {
	for {
		s, err := space.Of(dir)
		if err == nil {
			return int64(s.Total)
		}
		parent := filepath.Dir(dir)
		if parent == dir || !errors.Is(err, fs.ErrNotExist) {
			return 0
		}
		dir = parent
	}
}

// listenOn sets the address after having bound it once. The server opens its
// store before it listens, so it must not find out only then that a server runs
// there already.
func listenOn(opts *server.Options, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: want host:port: %w", addr, err)
	}
	probe, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: %w: %w", addr, ErrInUse, err)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	if err := probe.Close(); err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return fmt.Errorf("listen address %q: port: %w", addr, err)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host = host
	return nil
}

func (e *Embedded) start(opts *server.Options) error {
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	e.srv = srv
	srv.SetLoggerV2(e.log, false, false, false)
	srv.Start()
	if err := e.log.err(); err != nil {
		return err
	}
	if !srv.ReadyForConnections(readyTimeout) {
		return fmt.Errorf("not ready after %s", readyTimeout)
	}
	return e.Health()
}

// URL returns the address for clients of other processes, or "" if there is none.
func (e *Embedded) URL() string {
	if e.srv.Addr() == nil {
		return ""
	}
	return e.srv.ClientURL()
}

// InProcessConn returns a connection that does not leave the process. It lets
// nats.go, too, connect by nats.InProcessServer.
func (e *Embedded) InProcessConn() (net.Conn, error) { return e.srv.InProcessConn() }

// Health returns nil while JetStream works. Once its disk has refused a write, the
// server switches it off, or takes nothing more for the stream, even if there is room
// again. If room was all that it lacked, the error is an ErrNoRoom.
func (e *Embedded) Health() error {
	if err := e.log.err(); err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	if !e.srv.JetStreamEnabled() {
		return e.off()
	}
	for _, found := range e.srv.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// A stream that is being deleted is an error there, too, for a moment.
		if found.Type != server.HealthzErrorStream || !strings.Contains(found.Error, "write error") {
			continue
		}
		if strings.Contains(found.Error, syscall.ENOSPC.Error()) || strings.Contains(found.Error, syscall.EDQUOT.Error()) {
			return fmt.Errorf("NATS server: %s: %w; it goes on by itself once there is room", found.Error, ErrNoRoom)
		}
		return fmt.Errorf("NATS server: %s; see that its disk works, then restart: until then nothing is taken there", found.Error)
	}
	return nil
}

// off says why JetStream is off. A lack of room is the only reason that passes.
func (e *Embedded) off() error {
	switch why := e.log.off(); {
	case e.reopening.Load() || strings.Contains(why, "out of"):
		return fmt.Errorf("NATS server: JetStream is off: %w; it goes on by itself once there is room", ErrNoRoom)
	case why != "":
		return fmt.Errorf("NATS server: %s; restart EventFlux, and see the log of the server for the cause", why)
	default:
		return errors.New("NATS server: JetStream is off, and the server gave no reason; restart EventFlux, and see the log of the server for the cause")
	}
}

// Restart closes all files of JetStream, checks them as at the start, and opens them again.
// Connections stay. fatal is why the files cannot be used; err is why the server could not
// open them now.
func (e *Embedded) Restart() (fatal, err error) {
	e.reopening.Store(true)
	if err := e.srv.ShutdownJetStream(); err != nil {
		return nil, fmt.Errorf("NATS server: stop JetStream: %w", err)
	}
	if err := e.before(); err != nil {
		return err, nil
	}
	cfg := e.jetstream
	if err := e.srv.EnableJetStream(&cfg); err != nil {
		// Half started, it would count as on.
		return nil, errors.Join(fmt.Errorf("NATS server: start JetStream: %w", err), e.srv.ShutdownJetStream())
	}
	e.log.on()
	e.reopening.Store(false)
	return nil, nil
}

// Close stops the server, waits until its files are closed and unlocks the
// folder. Connections to it end; close them first. Calling it again does nothing.
func (e *Embedded) Close() error {
	if e.srv != nil {
		e.awaitAnswers()
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
	}
	if e.lock == nil {
		return nil
	}
	lock := e.lock
	e.lock = nil
	return lock.Close() // this also unlocks
}

const (
	answersMax  = 2 * time.Second
	answersLook = time.Millisecond
)

// awaitAnswers waits until JetStream has answered what it was asked, for as long as that is usual. A
// server that shuts down while it makes a stream may leave the stream's files open.
func (e *Embedded) awaitAnswers() {
	limit, look := time.NewTimer(answersMax), time.NewTicker(answersLook)
	defer limit.Stop()
	defer look.Stop()
	for {
		info, err := e.srv.Jsz(nil)
		if err != nil || info.API.Inflight == 0 {
			return
		}
		select {
		case <-look.C:
		case <-limit.C:
			return
		}
	}
}

// LockFolder locks the folder of a server that does not run. It fails with an ErrInUse
// where one does.
func LockFolder(dir string) (unlock func(), err error) {
	f, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil // this also unlocks
}

func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("folder %s: %w by another process: %w", dir, ErrInUse, err), f.Close())
	}
	return f, nil
}
