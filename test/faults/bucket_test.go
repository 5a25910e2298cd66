package faults

import (
	"context"
	"regexp"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// TestBucketOfAnotherCluster starts a second cluster with the bucket of the first, by mistake. The
// second exits and says why; the first keeps running. Once the first is gone, the second can take
// over its bucket.
func TestBucketOfAnotherCluster(t *testing.T) {
	server := s3test.Start(t)
	first := serving(t, t.TempDir(), app("shapes"), "--store.url="+server.URL("x"))
	trigger := func(p *process) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ctl := control.Client{Conn: p.connect()}
		eventually(t, "a checkpoint is made", func() bool {
			o, err := ctl.Trigger(ctx, control.AppRequest{App: "Shapes"})
			return err == nil && o.Committed
		})
	}
	trigger(first)
	data := t.TempDir()
	second := run(t, data, app("shapes"), "--store.url="+server.URL("x"))
	if code := second.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	found := regexp.MustCompile(`belongs to ([A-Z0-9]+) since .* add takeover=([A-Z0-9]+) to store.url`).FindStringSubmatch(second.log.String())
	if found == nil || found[1] != found[2] {
		t.Fatalf("the log does not name the owner of the bucket: %s", second.log.String())
	}
	trigger(first)
	first.stop()
	heir := serving(t, data, app("shapes"), "--store.url="+server.URL("x", "takeover="+found[1]))
	trigger(heir)
	heir.stop()
}
