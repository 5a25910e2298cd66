package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A shadow may end its process, for example because its text needs too much memory. It must not do
// so at every start. So a process counts the start of a shadow in the bucket EF_LINKS before it, and
// removes the count when the shadow ends in another way.

// starts is the value in the bucket.
type starts struct {
	ID    uint64 `json:"id"` // of the shadow
	Count int    `json:"count"`
}

func startsKey(app string) string { return natsconn.ClusterKey("shadow", app) }

func (s *Service) startsBucket(ctx context.Context) (jetstream.KeyValue, error) {
	bucket, err := s.js.KeyValue(ctx, natsconn.LinksBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s, which the checkpointers make: %w", natsconn.LinksBucket, err)
	}
	return bucket, nil
}

// countStart counts a start. It returns an error if the shadow has ended as many processes as
// quarantine allows.
func (s *Service) countStart(ctx context.Context, app string, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, shadowAsk)
	defer cancel()
	bucket, err := s.startsBucket(ctx)
	if err != nil {
		return err
	}
	var at starts
	entry, err := bucket.Get(ctx, startsKey(app))
	switch {
	case err == nil:
		if json.Unmarshal(entry.Value(), &at) != nil || at.ID != id {
			at = starts{}
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("bucket %s: get %s: %w", natsconn.LinksBucket, startsKey(app), err)
	}
	if at.Count >= control.QuarantineAfter {
		return unusablef("%d processes have died while they ran it; start it again to try once more, with more memory for example", at.Count)
	}
	at.ID, at.Count = id, at.Count+1
	value, err := json.Marshal(at)
	if err == nil {
		_, err = bucket.Put(ctx, startsKey(app), value)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: put %s: %w", natsconn.LinksBucket, startsKey(app), err)
	}
	return nil
}

// forgetStarts removes the count: no process has died.
func (s *Service) forgetStarts(ctx context.Context, app string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	bucket, err := s.startsBucket(ctx)
	if err == nil {
		err = bucket.Delete(ctx, startsKey(app))
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		s.cfg.Log.Debug("forget how often a shadow was started", "app", app, "err", err)
	}
}
