package natsconn

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Traces returns what JetStream holds of each app: the names of its streams, and the
// cluster's bucket if that lists the app. It is empty for a NATS where no app was deployed.
func Traces(ctx context.Context, js jetstream.JetStream) (map[string][]string, error) {
	traces := map[string][]string{}
	bucket := false
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if name == "KV_"+ClusterBucket {
			bucket = true
		}
		if _, app, _, ok := parseStream(name); ok {
			traces[app] = append(traces[app], name)
		}
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, fmt.Errorf("list the JetStream streams: %w", err)
	}
	if !bucket {
		return traces, nil
	}
	kv, err := js.KeyValue(ctx, ClusterBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", ClusterBucket, err)
	}
	keys, err := kv.ListKeysFiltered(ctx, ClusterKeys("app"))
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", ClusterBucket, err)
	}
	for key := range keys.Keys() {
		app := appOfKey(key)
		traces[app] = append(traces[app], "bucket "+ClusterBucket)
	}
	return traces, ctx.Err()
}

// appOfKey is the reverse of ClusterKey.
func appOfKey(key string) string {
	_, name, _ := strings.Cut(key, ".")
	if digits, ok := strings.CutPrefix(name, "="); ok {
		if app, err := hex.DecodeString(digits); err == nil {
			return string(app)
		}
	}
	return name
}
