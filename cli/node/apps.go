package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

const (
	// leaveTimeout bounds how long a stop waits for others to take its partitions.
	leaveTimeout = 15 * time.Second
	// lastCheckpointTimeout bounds how long a stop waits for a checkpoint. Without one, the
	// next start replays a longer tail.
	lastCheckpointTimeout = 20 * time.Second

	lookEvery = 20 * time.Millisecond
)

func (n *Node) newProcessor(ctx context.Context) (*processor.Service, error) {
	nc, err := n.connectOwn(ctx, "eventflux processor")
	if err != nil {
		return nil, err
	}
	batch := 0 // the servers' default
	if n.server != nil {
		batch = natsconn.BatchMessagesMax
	}
	choice, err := n.codec()
	if err != nil {
		return nil, err
	}
	id, err := n.processorID()
	if err != nil {
		return nil, err
	}
	workers := n.cfg.Recovery.Workers
	if workers == 0 {
		workers = stores.Workers(n.cfg.StoreURL())
	}
	return processor.New(processor.Config{
		Conn: nc, ID: id, BatchMessagesMax: batch, StateBytesMax: int64(n.cfg.Processor.StateBytesMax),
		PartialMatchesMax: int64(n.cfg.Limits.PartialMatchesMax), Work: filepath.Join(n.cfg.Data, "processor", id+".work"),
		Version: n.self.Version, Control: n.control, Store: n.store, Compression: choice,
		FullEvery: n.cfg.Checkpoint.FullEvery, Workers: workers, Witness: n.witness,
		Tracer: n.seen.exporter.Tracer(),
		Metadata: map[string]string{
			"processor": id, "durability": n.durability.String(), "guarantee": n.durability.Guarantee(), "nats": n.natsKind(),
		},
		Log: n.log,
	})
}

// processorID returns the processor's name: the host name unless processor.id is set.
func (n *Node) processorID() (string, error) {
	if n.cfg.Processor.ID != "" {
		return n.cfg.Processor.ID, nil
	}
	if n.server != nil {
		return "single", nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this host: %w; set processor.id", err)
	}
	return host, nil
}

// away reports whether the NATS servers that this process uses are gone, so that a stop can neither
// hand anything over nor wait for anything.
func (n *Node) away() bool {
	return n.server == nil && !slices.ContainsFunc(n.conns, func(nc *nats.Conn) bool { return nc.IsConnected() })
}

// retreat gives the partitions of the processor to others. If there are none, it makes a last
// checkpoint and lets the tasks apply the rest of their logs.
func (n *Node) retreat(p *processor.Service) {
	if n.away() {
		n.log.Warn("NATS is away, so partitions are not handed over and there is no last checkpoint; what was accepted is in the logs, and the next start applies it")
		return
	}
	if n.server == nil {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		p.Leave(ctx)
	}
	if !n.skipLast {
		n.lastCheckpoints(p.Tasks())
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		n.log.Warn("stopped before all results were out", "err", err)
	}
}

// lastCheckpoints makes a checkpoint of each app, so that the next start has little to replay.
// An app with a halted task cannot have one.
func (n *Node) lastCheckpoints(tasks []processor.TaskInfo) {
	able := map[string]bool{}
	for _, t := range tasks {
		before, known := able[t.App]
		able[t.App] = t.Alive() && (before || !known)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastCheckpointTimeout)
	defer cancel()
	var group sync.WaitGroup
	for app, able := range able {
		if !able {
			continue
		}
		group.Go(func() {
			o, err := n.control.Trigger(ctx, control.AppRequest{App: app})
			if err != nil || !o.Committed {
				n.log.Warn("no last checkpoint; the next start replays a longer tail", "app", app, "reason", o.Reason, "err", err)
			}
		})
	}
	group.Wait()
}
