package checkpointer

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
)

// A deploy refuses sources that cannot work with the existing JetStream streams, and warns
// of likely mistakes.
func TestDeployLooksAtStreams(t *testing.T) {
	r := newRig(t)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "ORDERS", Subjects: []string{"orders.>"}},
		{Name: "QUEUE", Subjects: []string{"queue.>"}, Retention: jetstream.WorkQueuePolicy},
		{Name: "SILENT", Subjects: []string{"silent.>"}, NoAck: true},
	} {
		_, err := r.js.CreateStream(r.within(), cfg)
		must(t, err)
	}
	for n, c := range []struct {
		source, refused, warned string
	}{
		{source: "subject='orders.*'", refused: "captured by JetStream stream ORDERS (orders.>)"},
		{source: "subject='orders.a.b'", refused: "@source(stream='ORDERS', subject='orders.a.b')"},
		{source: "subject='silent.a'"},
		{source: "subject='other.>'"},
		{source: "stream='QUEUE'", refused: "work-queue retention"},
		{source: "stream='ORDERS'"},
		{source: "stream='ORDERS', subject='order.x'", warned: "no message with the subject order.x, only orders.>"},
		{source: "stream='ORDERS', from='seq:7'", warned: "ends at message 0; reading starts when message 7 comes"},
		{source: "stream='ORDER'", warned: "there is no JetStream stream ORDER; it is read once it is created"},
	} {
		name := "app" + string(rune('a'+n))
		d, err := r.ctl.Deploy(r.within(), control.DeployRequest{
			Text: "@app:name('" + name + "') @source(" + c.source + ") define stream S (n int); from S select n insert into Out;",
		})
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %q", c.source, err, c.refused)
		}
		if got := strings.Join(d.Warnings, "; "); (got != "") != (c.warned != "") || !strings.Contains(got, c.warned) {
			t.Errorf("%s: warnings %q, want %q", c.source, got, c.warned)
		}
	}
}
