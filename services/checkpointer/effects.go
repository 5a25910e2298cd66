package checkpointer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// do carries out the effects of a coordinator. Slow effects run in their own goroutines and
// send the outcome to the loop as a message.
func (l *leader) do(ctx context.Context, app string, effects []effect) {
	for _, e := range effects {
		switch e.do {
		case doAnswer:
			l.answer(e)
			l.logOutcome(app, e)
		case doPaused:
			l.answer(e)
		case doTidy:
			l.projectSoon()
			l.work.Go(func() { l.tidy(ctx, app) })
		case doNote:
			l.work.Go(func() {
				p := e.parts[0]
				faultpoint.Reach(faultpoint.Prepared)
				// This is only for the status that operators see.
				_, _ = l.propose(ctx, &command{Kind: kindPrepared, App: app, Epoch: e.epoch, Partition: p.Partition, Number: p.Assignment})
			})
		default:
			l.work.Go(func() {
				l.spans.before(ctx, l, app, e)
				m := l.act(ctx, app, e)
				m.epoch = e.epoch
				if ctx.Err() == nil {
					l.spans.after(app, e, m)
					l.s.tally.count(app, e, m)
					l.send(loopMessage{app: app, message: m})
				}
			})
		}
	}
}

func (l *leader) answer(e effect) {
	faultpoint.Reach(faultpoint.AnswerBefore)
	for _, id := range e.answers {
		l.answers[id] <- e.outcome // the channel has room for one
		delete(l.answers, id)
	}
}

func (l *leader) logOutcome(app string, e effect) {
	if e.outcome.Committed {
		l.log.Debug("checkpoint committed", "app", app, "epoch", e.epoch, "ms", e.outcome.Milliseconds)
	} else {
		l.log.Warn("checkpoint aborted", "app", app, "epoch", e.epoch, "reason", e.outcome.Reason)
	}
}

// act carries out one effect and returns the outcome.
func (l *leader) act(ctx context.Context, app string, e effect) message {
	switch e.do {
	case doOpen:
		return l.openEpoch(ctx, app, e.epoch)
	case doBarrier:
		return message{kind: msgBarrier, reason: text(l.appendBarriers(ctx, app))}
	case doStore:
		err := l.storeManifest(ctx, app, e)
		if err != nil {
			l.log.Warn("manifest not stored", "app", app, "epoch", e.epoch, "err", err)
		}
		return message{kind: msgStored, reason: text(err), gone: errors.Is(err, errGone) || errors.Is(err, checkpoint.ErrCorrupt)}
	case doCommit:
		return l.until(ctx, app, msgCommitted, func() error { return l.commit(ctx, app, e.epoch) })
	case doAbort:
		return l.until(ctx, app, msgAborted, func() error {
			faultpoint.Reach(faultpoint.AbortBefore)
			_, err := l.propose(ctx, &command{Kind: kindAbort, App: app, Epoch: e.epoch, Reason: e.reason})
			faultpoint.Reach(faultpoint.AbortDone)
			return err
		})
	case doLook:
		return l.look(ctx, app, e.epoch)
	}
	panic(fmt.Sprintf("checkpointer: unknown effect %q", e.do))
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// until repeats do until it succeeds, this process stops leading, or the app is gone (then
// the message has no kind). Raft's refusals are final.
func (l *leader) until(ctx context.Context, app, kind string, do func() error) message {
	for {
		err := do()
		if err == nil {
			return message{kind: kind}
		}
		if l.s.cfg.FSM.gone(app) {
			return message{}
		}
		var no *control.Error
		if errors.As(err, &no) || errors.Is(err, consensus.ErrNotLeader) {
			l.log.Warn("this leader no longer owns the epoch", "step", kind, "err", err)
			<-ctx.Done() // another member leads, and Raft will report that
			return message{kind: kind}
		}
		l.log.Warn("trying again", "step", kind, "err", err)
		if !pauseFor(ctx, effectRetry) {
			return message{kind: kind}
		}
	}
}

func (l *leader) openEpoch(ctx context.Context, app string, epoch state.Epoch) message {
	c := &command{Kind: kindOpen, App: app, Epoch: epoch, Term: l.termOf(app), Time: l.s.cfg.Now()}
	_, _ = rand.Read(c.ID[:]) // never fails
	l.spans.open(ctx, l.s.cfg.Tracer, c)
	started := time.Now()
	faultpoint.Reach(faultpoint.OpenBefore)
	for {
		_, err := l.propose(ctx, c)
		var no *control.Error
		if err == nil || errors.As(err, &no) {
			l.opened.Store(app, opened{epoch, started})
			faultpoint.Reach(faultpoint.OpenDone)
			return message{kind: msgOpened, reason: text(err)}
		}
		if !pauseFor(ctx, effectRetry) {
			return message{kind: msgOpened, reason: text(err)}
		}
	}
}

// appendBarriers appends the barrier of the open epoch to every partition.
func (l *leader) appendBarriers(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil || a.Open == nil {
		return errors.New("no epoch is open")
	}
	cut := frame.Cut{Epoch: uint64(a.Open.Epoch), Term: uint64(a.Open.Term), ID: a.Open.ID}
	now := l.s.cfg.Now().UnixMilli()
	ended := make(chan error, a.Partitions)
	for p := range a.Partitions {
		faultpoint.Reach(faultpoint.BarrierBefore)
		if err := l.barriers.append(app, p, now, cut, ended); err != nil {
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
			return errors.Join(fmt.Errorf("the log accepted no barrier for %s", barrierTimeout), l.barriers.health(app, a.Partitions))
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
	end context.CancelFunc
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

// appendDone receives the outcome of an append.
type appendDone chan error

// Committed implements wal.Committed.
func (d appendDone) Committed(_ uint64, err error) { d <- err }

func (b *barrierWriters) append(app string, p uint32, now int64, cut frame.Cut, done appendDone) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ctx.Err(); err != nil {
		return err
	}
	stream := natsconn.WALStream(app, p)
	w, ok := b.of[stream]
	if !ok {
		writer, err := wal.NewWriter(wal.WriterConfig{Conn: b.conn, App: app, Partition: p, Witness: b.ends, Log: b.log})
		if err != nil {
			return err
		}
		ctx, end := context.WithCancel(b.ctx)
		w = barrierWriter{writer, end}
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
	return w.AppendBarrier(now, cut, done)
}

// storeManifest writes the manifest of an epoch that all tasks have prepared. The checkpoint
// does not exist until the commit in Raft.
func (l *leader) storeManifest(ctx context.Context, app string, e effect) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil || a.Open == nil || a.Open.Epoch != e.epoch {
		return errors.New("the epoch is not open")
	}
	if err := l.s.cfg.Raft.VerifyLeader(ctx); err != nil {
		return err
	}
	m := &checkpoint.Manifest{
		App: app, Plan: a.versions()[0].Plan, Generation: a.Generation, Epoch: e.epoch, Term: l.termOf(app), Time: a.Open.Time.UTC(),
	}
	for _, p := range e.parts {
		m.Partitions = append(m.Partitions, *p)
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if err := l.checkInherited(ctx, a, m); err != nil {
		return err
	}
	objects, err := l.objectsOf(ctx, m)
	if err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ManifestBefore)
	err = l.commitToStore(ctx, store.Commit{
		App: app, Term: uint64(l.termOf(app)), Epoch: uint64(e.epoch), Name: checkpoint.ManifestName(app, e.epoch),
		Manifest: data, Objects: objects,
	})
	faultpoint.Reach(faultpoint.ManifestDone)
	return err
}

// commitToStore puts a manifest into the store. If the app was removed at the same time, it
// deletes the manifest again: the removal has not seen it, and sweeps would keep it, because
// the manifest of an unknown app may come from a lost cluster.
func (l *leader) commitToStore(ctx context.Context, c store.Commit) error {
	if err := l.claim(ctx); err != nil {
		return err
	}
	err := l.s.cfg.Store.Commit(ctx, c)
	if err == nil && l.s.cfg.FSM.gone(c.App) {
		return errors.Join(removed(c.App), l.s.cfg.Store.Delete(ctx, c.Name, time.Time{}))
	}
	return err
}

func removed(app string) error {
	return failure(control.CodeNotFound, "app %q was removed", app)
}

// commit commits the checkpoint in Raft, with the manifest that is in the store.
func (l *leader) commit(ctx context.Context, app string, epoch state.Epoch) error {
	if a := l.s.cfg.FSM.app(app); a != nil {
		if o, known := a.outcome(epoch); known && o.Committed {
			return nil // committed before: the answer was lost, and the manifest may even be replaced by now
		}
	}
	name := checkpoint.ManifestName(app, epoch)
	data, err := l.s.cfg.Store.Get(ctx, name)
	if err != nil {
		return err
	}
	m, err := checkpoint.DecodeManifest(name, data)
	if err != nil {
		return err
	}
	k := l.record(m, name, data)
	k.Milliseconds = float64(l.took(app, m).Microseconds()) / 1000
	faultpoint.Reach(faultpoint.CommitBefore)
	_, err = l.propose(ctx, &command{Kind: kindCommit, App: app, Epoch: epoch, Commit: k})
	faultpoint.Reach(faultpoint.CommitDone)
	return err
}

// record returns what Raft stores about a manifest.
func (l *leader) record(m *checkpoint.Manifest, name string, data []byte) *committed {
	k := &committed{CheckpointRef: control.CheckpointRef{
		Generation: m.Generation, Epoch: m.Epoch, Term: l.termOf(m.App), Time: m.Time, Manifest: name, Digest: checkpoint.SHA256(data),
	}, Held: m.Hold}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		k.Barriers = append(k.Barriers, p.Log.Sequence)
		if len(l.versionsOf(m.App)) > 1 {
			version, _ := m.VersionOf(uint32(i))
			k.Versions = append(k.Versions, version)
		}
		for _, c := range p.Components {
			for _, r := range c.Runs {
				k.StateBytes += r.RawBytes
				k.Stored += r.Bytes
				if r.Epoch == m.Epoch {
					k.Bytes += r.Bytes
				}
			}
		}
	}
	k.Bytes += int64(len(data))
	return k
}

// opened is an epoch that this leader opened, and when.
type opened struct {
	epoch state.Epoch
	at    time.Time
}

// took returns how long a checkpoint took. If another leader opened it, that compares the
// clocks of two machines.
func (l *leader) took(app string, m *checkpoint.Manifest) time.Duration {
	if o, ok := l.opened.Load(app); ok && o.(opened).epoch == m.Epoch {
		return time.Since(o.(opened).at)
	}
	return max(0, l.s.cfg.Now().Sub(m.Time))
}

// look finds out whether the store has the manifest of an epoch that a former leader opened.
func (l *leader) look(ctx context.Context, app string, epoch state.Epoch) message {
	for {
		_, err := checkpoint.ReadManifest(ctx, l.s.cfg.Store, checkpoint.ManifestName(app, epoch), "")
		if err == nil || errors.Is(err, checkpoint.ErrCorrupt) {
			return message{kind: msgFound, found: err == nil}
		}
		l.log.Warn("look for the manifest of a former leader; trying again", "app", app, "epoch", epoch, "err", err)
		if !pauseFor(ctx, effectRetry) {
			return message{kind: msgFound}
		}
	}
}

// fence makes the store refuse former leaders.
func (l *leader) fence(ctx context.Context, app string) {
	err := l.claim(ctx)
	if err == nil {
		err = l.s.cfg.Store.Commit(ctx, store.Commit{App: app, Term: uint64(l.termOf(app))})
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("the store does not have this term yet; the next checkpoint writes it", "app", app, "err", err)
	}
}
