package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

// bringTimeout bounds a deploy that copies a checkpoint.
const bringTimeout = time.Hour

// useSwitched makes store.url the store that the cluster was switched to, if it was, and refuses
// a setting that names another one.
func useSwitched(ctx context.Context, nc *nats.Conn, cfg *config.Config) error {
	answers, err := natsconn.Answers(ctx, nc, control.StoreSubject(), nil)
	if err != nil {
		return err
	}
	var last control.StoreReport
	for _, m := range answers {
		var says control.StoreReport
		if json.Unmarshal(m.Data, &says) == nil && says.Number > last.Number {
			last = says
		}
	}
	switch {
	case last.Number == 0 || control.PublicURL(cfg.Store.URL) == last.URL:
	case cfg.Store.URL == "":
		cfg.Store.URL = last.URL
	default:
		return usagef("store.url names %s, and the cluster was switched to %s; name that one with --store.url", control.PublicURL(cfg.Store.URL), last.URL)
	}
	return nil
}

// bring returns the epoch of a checkpoint in the store of the cluster, after it has copied it
// there if it is in another store.
func bring(ctx context.Context, cmd *cobra.Command, client *control.Client, from, app string) (epoch state.Epoch, err error) {
	r, err := parseReference(from)
	if err != nil {
		return 0, err
	}
	switch has, err := client.App(ctx, control.AppRequest{App: app}); {
	case err == nil && has.Starting():
		return has.From, nil // an earlier deploy has brought it
	case err == nil:
		return 0, fmt.Errorf("app %s is deployed already, and only a new app starts from a checkpoint", app)
	case control.Code(err) != control.CodeNotFound:
		return 0, err
	case r.url == "":
		return r.epoch, nil
	}
	cfg, err := config.Load(cmd.Flags(), os.Environ())
	if err != nil {
		return 0, usagef("the configuration is refused:\n%w", err)
	}
	if err := useSwitched(ctx, client.Conn, cfg); err != nil {
		return 0, err
	}
	if cfg.Store.URL == "" {
		return 0, usagef("--store.url is missing: the checkpoint is copied to the store of the cluster")
	}
	open := opened{}
	defer func() { err = errors.Join(err, open.close()) }()
	source, m, err := open.find(ctx, r, "", app)
	if err != nil {
		return 0, err
	}
	if r.url == cfg.Store.URL {
		return m.Epoch, nil
	}
	if err := stores.Exists(cfg.Store.URL); err != nil {
		return 0, fmt.Errorf("--store.url: %w; it is not the store of a cluster that runs", err)
	}
	to, err := open.open(ctx, cfg.Store.URL, true)
	if err != nil {
		return 0, err
	}
	return checkpoint.Import(ctx, source, m, to, copyWorkers)
}

// start gives a new app the state that it starts from.
func start(ctx context.Context, client *control.Client, a *control.App) error {
	if !a.Starting() {
		return nil
	}
	o, err := firstCheckpoint(ctx, client, a.Name, adoptWait)
	if err == nil && !o.Committed {
		err = fmt.Errorf("checkpoint %d was aborted: %s", o.Epoch, o.Reason)
	}
	if err == nil {
		// The request has the same id at each attempt, so it takes effect once.
		_, err = client.Adopt(ctx, control.AdoptRequest{App: a.Name, ID: fmt.Sprintf("deploy-%d", a.Index), Epoch: a.From})
	}
	if err != nil {
		return fmt.Errorf("app %s is deployed, and it accepts no events until it has the state of checkpoint %d; repeat the command: %w", a.Name, a.From, err)
	}
	*a, err = client.App(ctx, control.AppRequest{App: a.Name})
	return err
}
