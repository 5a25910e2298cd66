package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// barrierWriters are the writers of one leadership, one for each log.
type barrierWriters struct {
	ctx    context.Context
	cancel context.CancelFunc
	conn   *nats.Conn
	ends   *witness.Folder
	log    *slog.Logger
	mu     sync.Mutex
	group  sync.WaitGroup
	of     map[string]barrierWriter // by log
}

type barrierWriter struct {
	*wal.Writer
	subject string
	end     context.CancelFunc
}

// logID is a log, and the subject that takes the leader's frames now.
type logID struct {
	app       string
	partition uint32
	subject   string
}

// logOf returns the log of a partition.
func (a *appState) logOf(p uint32) logID {
	if a.Scaling != nil {
		return logID{a.Name, p, natsconn.DeploySubject(a.Name, p)}
	}
	return logID{a.Name, p, natsconn.RoutedSubject(a.Name, p, a.Scalings)}
}

func (b *barrierWriters) open(ctx context.Context, conn *nats.Conn, ends *witness.Folder, log *slog.Logger) {
	b.ctx, b.cancel = context.WithCancel(ctx)
	b.conn, b.ends, b.log, b.of = conn, ends, log, map[string]barrierWriter{}
}

// close ends all writers. No new ones are made after that.
func (b *barrierWriters) close() {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.group.Wait()
}

// health returns what keeps the logs of an app from accepting barriers.
func (b *barrierWriters) health(app string, partitions uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for p := range partitions {
		if w, ok := b.of[natsconn.WALStream(app, p)]; ok {
			errs = append(errs, w.Health())
		}
	}
	return errors.Join(errs...)
}

// drop ends the writers of an app whose logs are about to be deleted. Later logs with the
// same names are new logs, and get new writers.
func (b *barrierWriters) drop(app string, partitions uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range partitions {
		if w, ok := b.of[natsconn.WALStream(app, p)]; ok {
			w.end()
			delete(b.of, natsconn.WALStream(app, p))
		}
	}
}

// appendAll appends the barrier of an app's open epoch to every partition.
func (b *barrierWriters) appendAll(ctx context.Context, a *appState, now int64) error {
	cut := frame.Cut{Epoch: uint64(a.Open.Epoch), Term: uint64(a.Open.Term), ID: a.Open.ID}
	ended := make(chan error, a.Partitions)
	for p := range a.Partitions {
		faultpoint.Reach(faultpoint.BarrierBefore)
		if err := b.append(a.logOf(p), now, cut, ended); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	late := time.NewTimer(barrierTimeout)
	defer late.Stop()
	for range a.Partitions {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
		case <-late.C:
			return errors.Join(fmt.Errorf("the log accepted no barrier for %s", barrierTimeout), b.health(a.Name, a.Partitions))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	faultpoint.Reach(faultpoint.BarrierDone)
	return nil
}

// barrierTimeout is how long a log may take to accept a barrier. A log that is full or
// unavailable may accept it later; then its epoch is over, and tasks ignore it.
const barrierTimeout = 3 * time.Second

// appendDone receives the outcome of an append.
type appendDone chan error

// Committed implements wal.Committed.
func (d appendDone) Committed(_ uint64, err error) { d <- err }

func (b *barrierWriters) append(log logID, now int64, cut frame.Cut, done appendDone) error {
	w, err := b.writer(log)
	if err != nil {
		return err
	}
	return w.AppendBarrier(now, cut, done)
}

// tick appends a tick.
func (b *barrierWriters) tick(log logID, f *frame.Frame, done appendDone) error {
	w, err := b.writer(log)
	if err != nil {
		return err
	}
	if f.HasClock {
		return w.AppendClock(f.Stamp, f.Clock, done)
	}
	return w.AppendTick(f.Stamp, done)
}

// writer returns the writer of a log. If another subject takes its frames by now, it is a new
// one.
func (b *barrierWriters) writer(log logID) (*wal.Writer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	app, p := log.app, log.partition
	stream := natsconn.WALStream(app, p)
	w, ok := b.of[stream]
	if ok && w.subject != log.subject {
		w.end()
		delete(b.of, stream)
		ok = false
	}
	if !ok {
		writer, err := wal.NewWriter(wal.WriterConfig{Conn: b.conn, App: app, Partition: p, Subject: log.subject, Witness: b.ends, Log: b.log})
		if err != nil {
			return nil, err
		}
		ctx, end := context.WithCancel(b.ctx)
		w = barrierWriter{writer, log.subject, end}
		b.of[stream] = w
		b.group.Go(func() {
			defer end()
			if err := w.Run(ctx); err != nil {
				b.log.Warn("the writer of barriers has ended; the next barrier starts a new one", "log", stream, "err", err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.of[stream].Writer == w.Writer {
				delete(b.of, stream)
			}
		})
	}
	return w.Writer, nil
}
