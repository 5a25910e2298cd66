package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/measured"
	"github.com/eventflux/eventflux/shared/state/store/stores"
	"github.com/eventflux/eventflux/shared/state/store/switched"
)

const (
	// lookForStoreTimeout bounds how long a start looks for the store that the cluster was
	// switched to. Without an answer, it uses store.url, and follows the bucket later.
	lookForStoreTimeout = 5 * time.Second
	// checkStoreTimeout bounds how long the check of another store may take.
	checkStoreTimeout = 20 * time.Second
	followStoreRetry  = time.Second
)

// openStore opens the store that the cluster was switched to, or the one that store.url names.
func (n *Node) openStore(ctx context.Context) (err error) {
	target := switched.Target{URL: n.cfg.StoreURL()}
	looking, cancel := context.WithTimeout(ctx, lookForStoreTimeout)
	defer cancel()
	err = n.watchStore(looking, func(s control.Store, last bool) bool {
		if s.Number > 0 {
			target = switched.Target{Number: s.Number, URL: s.URL}
			n.warnOfSetting(&s)
		}
		return !last
	})
	if err != nil {
		n.log.Debug("look for the store that the cluster was switched to", "err", err)
	}
	if n.switched, err = switched.Open(ctx, target, n.openURL); err != nil {
		return err
	}
	timed := measured.Wrap(n.switched)
	n.store = timed
	n.seen.metrics.MustRegister(timed)
	n.following = start(n.followStore)
	return nil
}

// openURL opens a store. If store.url names the same store, its credentials are used.
func (n *Node) openURL(ctx context.Context, url string) (store.Store, error) {
	if own := n.cfg.StoreURL(); control.PublicURL(own) == url {
		url = own
	}
	return stores.Open(ctx, url, n.log)
}

// useStore makes this process use the store that the cluster was switched to. It ignores an
// older switch than the one it knows.
func (n *Node) useStore(s control.Store) {
	if s.Number >= n.switched.Target().Number && n.switched.Use(switched.Target{Number: s.Number, URL: s.URL}) {
		n.warnOfSetting(&s)
	}
}

// warnOfSetting logs that store.url does not name the store in use.
func (n *Node) warnOfSetting(s *control.Store) {
	if own := control.PublicURL(n.cfg.StoreURL()); own != s.URL {
		n.log.Warn("the cluster was switched to another store of checkpoints, which this process uses; change the setting store.url to it",
			"store", s.URL, "setting", own, "switched", s.Time.Format(time.RFC3339))
	}
}

// followStore follows switches until ctx ends. A process that misses one has its checkpoints
// refused by the leader, since the new store lacks their objects.
func (n *Node) followStore(ctx context.Context) error {
	for ctx.Err() == nil {
		err := n.watchStore(ctx, func(s control.Store, last bool) bool {
			switch {
			case last:
			case s.Number == 0: // a new group of checkpointers knows of no switch
				n.switched.Use(switched.Target{URL: n.cfg.StoreURL()})
			default:
				n.useStore(s)
			}
			return true
		})
		if err != nil && ctx.Err() == nil {
			n.log.Debug("watch the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followStoreRetry):
		}
	}
	return nil
}

// watchStore calls visit with the store that the cluster was switched to, and with last set when
// that is known; then after each switch, until visit returns false or ctx ends. A zero Store
// means that the key was deleted. Without a bucket it returns at once.
func (n *Node) watchStore(ctx context.Context, visit func(s control.Store, last bool) bool) error {
	js, err := jetstream.New(n.control.Conn)
	if err != nil {
		return err
	}
	bucket, err := js.KeyValue(ctx, natsconn.ClusterBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	watch, err := bucket.Watch(ctx, control.StoreKey)
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }() // the connection may be gone already
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-watch.Updates():
			if !open {
				return errors.New("the watch has ended")
			}
			var s control.Store
			if e != nil && e.Operation() == jetstream.KeyValuePut {
				if err := json.Unmarshal(e.Value(), &s); err != nil {
					return fmt.Errorf("key %s: %w", control.StoreKey, err)
				}
			}
			if !visit(s, e == nil) {
				return nil
			}
		}
	}
}

// storing returns the services of this process that use the store.
func (n *Node) storing() (names []string) {
	for _, name := range n.services {
		if name != "ingest" {
			names = append(names, name)
		}
	}
	return names
}

// answering is the work on requests of the leader about the store.
type answering struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func (a *answering) close() {
	if a.cancel != nil {
		a.cancel()
		a.group.Wait()
	}
}

// answerForStore answers requests about the store from now on.
func (n *Node) answerForStore() error {
	if n.switched == nil {
		return nil
	}
	services, err := n.placesOfStore()
	if err != nil {
		return err
	}
	n.answers.ctx, n.answers.cancel = context.WithCancel(context.Background())
	_, err = n.control.Conn.Subscribe(control.StoreSubject(), func(m *nats.Msg) {
		if !natsconn.Answerable(m.Reply) {
			return
		}
		n.answers.group.Go(func() {
			report := n.reportStore(n.answers.ctx, m.Data)
			report.Services = services
			if data, err := json.Marshal(report); err == nil {
				_ = m.Respond(data) // the leader says who has not answered
			}
		})
	})
	return err
}

// reportStore carries out a request about the store.
func (n *Node) reportStore(ctx context.Context, data []byte) (r control.StoreReport) {
	var request control.StoreRequest
	if err := control.Parse(data, &request); err != nil {
		r.Error = err.Error()
	} else if request.Use != nil {
		n.useStore(*request.Use)
	} else if request.Check != "" {
		ctx, cancel := context.WithTimeout(ctx, checkStoreTimeout)
		defer cancel()
		if err := n.checkOther(ctx, &request); err != nil {
			r.Error = err.Error()
		}
	}
	t := n.switched.Target()
	r.Number, r.URL, r.Setting = t.Number, control.PublicURL(t.URL), control.PublicURL(n.cfg.StoreURL())
	return r
}

// checkOther checks that this process can use another store, and that the URL means the same
// store here as for the leader.
func (n *Node) checkOther(ctx context.Context, r *control.StoreRequest) error {
	other, err := n.openURL(ctx, r.Check)
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }() // nothing was written
	if claimer, ok := store.As[store.Claimer](other); ok {
		if err := claimer.Claim(ctx, r.Cluster); err != nil {
			return err
		}
	}
	if r.Manifest == "" {
		return nil
	}
	_, err = other.Get(ctx, r.Manifest)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("it opens another store than the leader under this URL, since %s is not there; all processes must reach the same store", r.Manifest)
	}
	return err
}

// placesOfStore names the services of this process that use the store, as natsconn.Place does.
func (n *Node) placesOfStore() (places []string, err error) {
	for _, name := range n.storing() {
		info := micro.Info{ServiceIdentity: micro.ServiceIdentity{Name: natsconn.ServiceName(name), Metadata: natsconn.Where(nil)}}
		switch name {
		case "checkpointer":
			info.Metadata["raft_id"] = n.raft.ID()
		case "processor":
			if info.Metadata["processor"], err = n.processorID(); err != nil {
				return nil, err
			}
		}
		places = append(places, natsconn.Place(&info))
	}
	return places, nil
}
