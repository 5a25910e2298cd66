package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// viewsOf returns the streams of an app's text that have a view (@sink(kv='…')).
func viewsOf(text string) []*siddhiql.Stream {
	if !strings.Contains(text, "kv") {
		return nil
	}
	plan, err := siddhiql.CompileDeployed(text)
	if err != nil {
		return nil // ingest tells why a text cannot be read
	}
	return plan.Views()
}

// makeBuckets makes the KV buckets of an app's views that are missing. A bucket that is there stays as it
// is: its history, limits and copies are its owner's.
func (sk *streamKeeper) makeBuckets(ctx context.Context, app, text string) error {
	for _, s := range viewsOf(text) {
		name := s.Sink.View.Bucket
		_, err := sk.js.Stream(ctx, "KV_"+name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = sk.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
				Bucket: name, Description: fmt.Sprintf("the newest row of each key of stream %s of app %s, by EventFlux", s.Name, app), Replicas: max(sk.cfg.Streams.Replicas, 1),
			})
		}
		if err != nil {
			return fmt.Errorf("KV bucket %s of stream %s: %w", name, s.Name, err)
		}
	}
	return nil
}

// checkViews refuses views in a bucket that another app or somebody else writes.
func (ad *admission) checkViews(ctx context.Context, plan *siddhiql.Plan) error {
	for _, s := range plan.Views() {
		bucket := s.Sink.View.Bucket
		for _, other := range otherPlans(plan, ad.cfg.FSM.apps()) {
			for _, its := range other.Views() {
				if its.Sink.View.Bucket == bucket {
					return fmt.Errorf("stream %s has its view in KV bucket %s, which has the view of stream %s of app %s; choose another bucket", s.Name, bucket, its.Name, other.Name)
				}
			}
		}
		m, err := natsconn.LastMessage(ctx, ad.cfg.Conn, "KV_"+bucket, "$KV."+bucket+".>")
		var answer *jetstream.APIError
		if errors.As(err, &answer) && answer.ErrorCode == jetstream.JSErrCodeStreamNotFound {
			continue
		}
		if err != nil {
			return fmt.Errorf("KV bucket %s, for the view of stream %s: %w", bucket, s.Name, err)
		}
		if m.Seq == 0 {
			continue
		}
		key := strings.TrimPrefix(m.Subject, "$KV."+bucket+".")
		switch app, _, _ := strings.Cut(m.Header.Get(output.HeaderView), " "); app {
		case plan.Name:
		case "":
			return fmt.Errorf("stream %s has its view in KV bucket %s, but somebody else has written key %s there, so it would hold other values than those of the app; choose another bucket, or delete this one: nats kv del %[2]s", s.Name, bucket, key)
		default:
			return fmt.Errorf("stream %s has its view in KV bucket %s, but app %s has written key %s there; choose another bucket, or delete this one: nats kv del %[2]s", s.Name, bucket, app, key)
		}
	}
	return nil
}
