package checkpointer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// Results beyond the bounds of an app are deleted, but none after the newest record of
// positions.
func TestResultsAreTrimmedUpToTheRecord(t *testing.T) {
	r := newRig(t)
	deploy := func(app, bounds string) *siddhiql.Plan {
		t.Helper()
		text := "@app:name('" + app + "') @sink(" + bounds + ") define stream Out (n int); define stream S (n int); from S select n insert into Out;"
		_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: text})
		must(t, err)
		plan, err := siddhiql.Compile(text)
		must(t, err)
		return plan
	}
	publish := func(app string, from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			m := nats.NewMsg(natsconn.OutSubject(app, "Out", 0))
			m.Header.Set(output.HeaderGeneration, "1")
			m.Header.Set(output.HeaderPosition, fmt.Sprintf("%d.0", n))
			m.Data = []byte(`{"n":1}`)
			_, err := r.js.PublishMsg(r.within(), m)
			must(t, err)
		}
	}
	record := func(plan *siddhiql.Plan, through uint64) {
		t.Helper()
		at := result.Position{Generation: 1, Seq: through}
		fence := output.NewFence("me", plan.Digest, 1, output.Record{Newest: map[string]result.Position{"Out": at}, Last: at, Through: through})
		_, err := r.js.Publish(r.within(), natsconn.FenceSubject(plan.Name, 0), encoded(t, fence))
		must(t, err)
	}
	first := func(app string) uint64 {
		t.Helper()
		s, err := r.js.Stream(r.within(), natsconn.OutStream(app, 0))
		must(t, err)
		return s.CachedInfo().State.FirstSeq
	}
	l := newLeader(r.s, 1)
	for _, c := range []struct {
		app, bounds string
		want        uint64 // the first message that is left, with a record at message 11
	}{
		{"aged", "max.age='1 millisecond'", 11},
		{"large", "max.bytes='1 B'", 11},
		{"young", "max.age='1 day'", 1},
		{"small", "max.bytes='1 GB'", 1},
		{"kept", "publish='true'", 1},
	} {
		plan := deploy(c.app, c.bounds)
		publish(c.app, 1, 10)
		<-time.After(5 * time.Millisecond) // the results are older than 1 ms then
		must(t, l.retention.trimResults(r.within(), c.app))
		if got := first(c.app); got != 1 {
			t.Errorf("%s: without a record, the first message is %d", c.app, got)
		}
		record(plan, 10)
		publish(c.app, 11, 15)
		must(t, l.retention.trimResults(r.within(), c.app))
		if got := first(c.app); got != c.want {
			t.Errorf("%s: the first message is %d, want %d", c.app, got, c.want)
		}
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}
