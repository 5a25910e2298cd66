package checkpointer

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/output"
)

// A deploy makes the buckets of views, leaves those that are there as they are, and refuses the
// buckets of others. A bucket that is deleted is made again.
func TestDeploysMakeTheBucketsOfViews(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"MINE", "OTHERS", "FORMER"} {
		_, err := r.js.CreateKeyValue(r.within(), jetstream.KeyValueConfig{Bucket: name, History: 7})
		must(t, err)
	}
	_, err := r.js.Publish(r.within(), "$KV.OTHERS.k", []byte("v"))
	must(t, err)
	_, err = r.js.PublishMsg(r.within(), &nats.Msg{Subject: "$KV.FORMER.k", Header: nats.Header{output.HeaderView: {"gone Out 0 1 1 x"}}})
	must(t, err)
	text := func(app, bucket string) string {
		return "@app:name('" + app + "') define stream S (k string); @sink(stream='Out', kv='" + bucket + "', key='{k}') @info(name='q') from S select k insert into Out;"
	}
	for _, c := range []struct{ app, bucket, refused string }{
		{"a", "MADE", ""},
		{"b", "MINE", ""},
		{"c", "MADE", "KV bucket MADE, which has the view of stream Out of app a"},
		{"c", "OTHERS", "somebody else has written key k there"},
		{"c", "FORMER", "app gone has written key k there"},
		{"gone", "FORMER", ""},
	} {
		_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: text(c.app, c.bucket)})
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s in %s: %v, want %q", c.app, c.bucket, err, c.refused)
		}
	}
	history := func(bucket string) int64 {
		t.Helper()
		kv, err := r.js.KeyValue(r.within(), bucket)
		must(t, err)
		status, err := kv.Status(r.within())
		must(t, err)
		return status.History()
	}
	if history("MINE") != 7 || history("MADE") != 1 {
		t.Errorf("bucket MINE has %d values of a key, want 7; bucket MADE %d, want 1", history("MINE"), history("MADE"))
	}
	must(t, r.js.DeleteKeyValue(r.within(), "MADE"))
	must(t, r.s.leading().streams.lookAfterStreams(r.within(), map[string]bool{"a": true, "b": true, "gone": true}))
	history("MADE")
	_, err = r.ctl.Upgrade(r.within(), control.UpgradeRequest{App: "a", Text: text("a", "LATER")})
	must(t, err)
	history("LATER")
}
