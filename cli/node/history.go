package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	// groupWait is how long a checkpointer without Raft state waits for a group to answer if
	// JetStream holds apps. Members that start together elect a leader within seconds.
	groupWait = 10 * time.Second
	// tracesTimeout bounds how long the start waits until JetStream lists its streams. Servers that
	// start together hold an election first.
	tracesTimeout = 30 * time.Second
	tracesAttempt = 5 * time.Second
	tracesRetry   = 200 * time.Millisecond
)

// foundGroup decides what a checkpointer without Raft state does. It joins a group that has a
// leader. It starts a new group if no app was ever deployed. If JetStream has streams of apps, it
// refuses to start a new group: that group would not know the apps, and they would publish all
// their results again.
func (n *Node) foundGroup(ctx context.Context, folder string) (join bool, err error) {
	nc, err := n.connect(ctx, "eventflux start")
	if err != nil {
		return false, err
	}
	defer nc.Close()
	traces, err := tracesOf(ctx, nc)
	if err != nil {
		err = natsconn.Refused(nc, err)
		if errors.Is(err, natsconn.ErrNoJetStream) {
			return false, err
		}
		return false, fmt.Errorf("folder %s has no Raft state, and it is not known whether NATS holds apps: %w; start again when JetStream answers, which needs a `jetstream` block in the server's configuration file, or its flag -js", folder, err)
	}
	if len(traces) == 0 {
		return false, nil
	}
	if n.server == nil && len(n.cfg.Raft.Peers) > 0 && n.groupLeads(ctx) {
		return true, nil
	}
	return false, n.orphans(ctx, folder, traces)
}

// tracesOf asks JetStream for traces of apps until it answers or tracesTimeout passes.
func tracesOf(ctx context.Context, nc *nats.Conn) (map[string][]string, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tracesTimeout)
	defer cancel()
	for {
		ask, done := context.WithTimeout(ctx, tracesAttempt)
		traces, err := natsconn.Traces(ask, js)
		done()
		if err == nil {
			return traces, nil
		}
		if errors.Is(natsconn.Refused(nc, err), natsconn.ErrNoJetStream) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(tracesRetry):
		}
	}
}

// groupLeads waits up to groupWait for a group of checkpointers with a leader.
func (n *Node) groupLeads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, groupWait)
	defer cancel()
	for ctx.Err() == nil {
		ask, done := context.WithTimeout(ctx, askGroupTimeout)
		group, err := n.control.Status(ask)
		done()
		if err == nil && group.Leader != "" {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(tracesRetry):
		}
	}
	return false
}

// orphans returns the error for apps in NATS that no Raft state knows. It lists the next steps for
// the mode that runs.
func (n *Node) orphans(ctx context.Context, folder string, traces map[string][]string) error {
	var found []string
	for _, app := range slices.Sorted(maps.Keys(traces)) {
		slices.Sort(traces[app])
		newest := "the store has no checkpoint of it"
		if head, err := n.store.Head(ctx, app); err != nil {
			newest = "the store does not tell its newest checkpoint: " + err.Error()
		} else if head.Name != "" {
			newest = fmt.Sprintf("the store has its checkpoint %d", head.Epoch)
		}
		found = append(found, fmt.Sprintf("app %s (%s; %s)", app, strings.Join(traces[app], ", "), newest))
	}
	what := fmt.Sprintf("folder %s has no Raft state, and NATS holds %s. A new group of checkpointers does not know them, and all their results would come again", folder, strings.Join(found, ", "))
	if n.server != nil {
		return errors.New(what + "; restore the whole data folder from a copy. Without a copy: " +
			"(1) move the folders raft, nats and witness out of " + n.cfg.Data + ", and keep the store of checkpoints; " +
			"(2) eventflux run with the same apps and settings; " +
			"(3) eventflux recover APP --adopt for each app that has a checkpoint; " +
			"(4) publish again the events since that checkpoint")
	}
	return errors.New(what + "; if other checkpointers have their data, start those first, and this one joins them. " +
		"If all have lost it, restore the folder raft of one of them from a copy. Without a copy: " +
		"(1) copy the results that you need (nats stream backup), then remove the streams named here and the bucket " + natsconn.ClusterBucket + " (nats stream rm, nats kv del); " +
		"(2) start the checkpointers again, with the same store; " +
		"(3) eventflux app deploy of each app with the text that it had; " +
		"(4) eventflux recover APP --adopt for each app that has a checkpoint; " +
		"(5) publish again the events since that checkpoint")
}
