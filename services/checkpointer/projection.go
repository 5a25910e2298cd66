package checkpointer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// projection is the bucket of the cluster, which all services read: it has the apps and their
// newest checkpoints, as Raft has them. It owns the wake-up for new checkpoints.
type projection struct {
	*leadership
	changed chan struct{} // wakes keepCheckpoints: the bucket lacks newer checkpoints
}

// keepProjecting updates the bucket from Raft at the start of a leadership.
func (pr *projection) keepProjecting(ctx context.Context) {
	for {
		err := pr.project(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		pr.log.Warn("write the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
		if !pauseFor(ctx, projectRetry) {
			return
		}
	}
}

// project writes the apps, as Raft has them, into the bucket that all services read.
func (pr *projection) project(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	bucket, err := pr.bucket(ctx, natsconn.ClusterBucket, "the state of the cluster, as Raft has it")
	if err != nil {
		return err
	}
	if _, err := pr.bucket(ctx, natsconn.LinksBucket, "which process reads the results of other apps for a source, and how far it has come"); err != nil {
		return err
	}
	want := map[string]bool{}
	for _, a := range pr.cfg.FSM.apps() {
		if a.Removing {
			continue
		}
		a.Shadow = nil // only recovery runs it, and it asks for it
		key := natsconn.ClusterKey("app", a.Name)
		want[key] = true
		// Get of a bucket may be answered by a replica that lacks the last write of a former leader.
		if have, err := natsconn.LastMessage(ctx, pr.cfg.Conn, "KV_"+natsconn.ClusterBucket, "$KV."+natsconn.ClusterBucket+"."+key); err == nil && same(have.Data, &a.App) {
			continue
		}
		a.Owners, a.Checkpoint = nil, 0 // these change all the time; services ask for them
		data, err := json.Marshal(a.App)
		if err != nil {
			return err
		}
		if _, err := bucket.Put(ctx, key, data); err != nil {
			return fmt.Errorf("bucket %s: put %s: %w", natsconn.ClusterBucket, key, err)
		}
	}
	if err := pr.projectStore(ctx, bucket); err != nil {
		return err
	}
	keys, err := bucket.ListKeysFiltered(ctx, natsconn.ClusterKeys("app"))
	if err != nil {
		return fmt.Errorf("bucket %s: %w", natsconn.ClusterBucket, err)
	}
	for key := range keys.Keys() {
		if want[key] {
			continue
		}
		if err := bucket.Delete(ctx, key); err != nil {
			return fmt.Errorf("bucket %s: delete %s: %w", natsconn.ClusterBucket, key, err)
		}
	}
	return nil
}

// projectStore writes the store that the cluster was switched to into the bucket.
func (pr *projection) projectStore(ctx context.Context, bucket jetstream.KeyValue) error {
	to := pr.cfg.FSM.store()
	have, err := natsconn.LastMessage(ctx, pr.cfg.Conn, "KV_"+natsconn.ClusterBucket, "$KV."+natsconn.ClusterBucket+"."+control.StoreKey)
	there := err == nil && len(have.Data) > 0
	switch {
	case to == nil && !there:
		return nil
	case to == nil: // of a former group
		if err = pr.cfg.Raft.VerifyLeader(ctx); err == nil {
			err = bucket.Delete(ctx, control.StoreKey)
		}
	default:
		data, failed := json.Marshal(to)
		if failed != nil {
			return failed
		}
		if there && bytes.Equal(have.Data, data) {
			return nil
		}
		_, err = bucket.Put(ctx, control.StoreKey, data)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %s: %w", natsconn.ClusterBucket, control.StoreKey, err)
	}
	return nil
}

// bucket returns a bucket of the cluster, and creates it if it is missing.
func (pr *projection) bucket(ctx context.Context, name, description string) (jetstream.KeyValue, error) {
	want := jetstream.KeyValueConfig{Bucket: name, Description: description, Replicas: max(pr.cfg.Streams.Replicas, 1)}
	bucket, err := pr.js.KeyValue(ctx, name)
	if err != nil {
		bucket, err = pr.js.CreateOrUpdateKeyValue(ctx, want)
	} else if have, asked := bucket.Status(ctx); asked != nil {
		err = asked
	} else if have.Config().Replicas != want.Replicas {
		bucket, err = pr.js.UpdateKeyValue(ctx, want)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return bucket, nil
}

func same(value []byte, a *control.App) bool {
	var have control.App
	return json.Unmarshal(value, &have) == nil && have.Index == a.Index && have.Version == a.Version && have.Generation == a.Generation && have.Held == a.Held &&
		have.Scalings == a.Scalings && (have.Scaling == nil) == (a.Scaling == nil)
}

// checkpointsSoon wakes keepCheckpoints.
func (pr *projection) checkpointsSoon() {
	select {
	case pr.changed <- struct{}{}:
	default:
	}
}

// keepCheckpoints writes the newest checkpoint of each app into the bucket whenever
// it has changed, and deletes the checkpoints of apps that are gone.
func (pr *projection) keepCheckpoints(ctx context.Context) {
	var sent map[string]uint64 // index by key; nil until the content of the bucket is known
	for {
		select {
		case <-ctx.Done():
			return
		case <-pr.changed:
		}
		var err error
		if sent == nil {
			sent, err = pr.checkpointsBefore(ctx)
		}
		if err == nil {
			err = pr.writeCheckpoints(ctx, sent)
		}
		if err != nil && ctx.Err() == nil {
			pr.log.Debug("write the newest checkpoints into the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
			if !pauseFor(ctx, projectRetry) {
				return
			}
			pr.checkpointsSoon()
		}
	}
}

// checkpointsBefore returns the keys of the checkpoints that are in the bucket. They need not
// be the newest.
func (pr *projection) checkpointsBefore(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	bucket, err := pr.js.KeyValue(ctx, natsconn.ClusterBucket)
	if err != nil {
		return nil, err
	}
	keys, err := bucket.ListKeysFiltered(ctx, control.CheckpointKey("*"))
	if err != nil {
		return nil, err
	}
	sent := map[string]uint64{}
	for key := range keys.Keys() {
		sent[key] = 0
	}
	return sent, ctx.Err()
}

func (pr *projection) writeCheckpoints(ctx context.Context, sent map[string]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	bucket, err := pr.js.KeyValue(ctx, natsconn.ClusterBucket)
	if err != nil {
		return err
	}
	gone := maps.Clone(sent)
	for _, a := range pr.cfg.FSM.apps() {
		key := control.CheckpointKey(a.Name)
		delete(gone, key)
		if len(a.Committed) == 0 {
			continue
		}
		k := &a.Committed[len(a.Committed)-1]
		if sent[key] == k.Index {
			continue
		}
		data, err := json.Marshal(control.ProjectedCheckpoint{App: a.Name, CheckpointRef: k.CheckpointRef, Index: k.Index})
		if err == nil {
			_, err = bucket.Put(ctx, key, data)
		}
		if err != nil {
			return err
		}
		sent[key] = k.Index
	}
	for key := range gone {
		if err := bucket.Delete(ctx, key); err != nil {
			return err
		}
		delete(sent, key)
	}
	return nil
}
