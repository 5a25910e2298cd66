package node

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
)

// openRecovery makes the recovery service of this process. It reads over its own connection,
// so that other traffic does not wait for the transfer of a log.
func (n *Node) openRecovery(ctx context.Context) error {
	nc, err := n.connectOwn(ctx, "eventflux recovery")
	if err != nil {
		return err
	}
	if n.recovery, err = recovery.New(n.recoveryConfig(nc)); err == nil {
		n.watch(n.recovery)
	}
	return err
}

func (n *Node) recoveryConfig(nc *nats.Conn) recovery.Config {
	return recovery.Config{
		Conn: nc, Control: n.control, Store: n.store,
		Restorer: &control.Client{Conn: nc, Self: n.self},
		Workers:  n.cfg.Recovery.Workers, ShadowRate: n.cfg.Recovery.ShadowRate, Version: n.self.Version, Log: n.log,
	}
}
