package checkpointer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// Of each subject, the newest results stay, and all after the newest record of positions. A reader
// then does not take the removed ones for lost, and still finds a lost one after them.
func TestResultsOfEachSubjectAreBounded(t *testing.T) {
	r := newRig(t)
	text := "@app:name('bounded') @sink(subject='alerts.{k}', max.msgs.per.subject='2') define stream Alerts (k string, n int); define stream S (k string, n int); define stream Other (n int); from S select k, n insert into Alerts; from S select n insert into Other;"
	_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: text})
	must(t, err)
	plan, err := siddhiql.Compile(text)
	must(t, err)
	name := natsconn.OutStream(plan.Name, 0)
	newest, last, next := map[string]result.Position{}, result.Position{}, result.Position{Generation: 1, Seq: 1}
	publish := func(subject, stream string) uint64 {
		t.Helper()
		at := next
		next.Seq++
		m := nats.NewMsg(subject)
		m.Header.Set(output.HeaderStream, stream)
		m.Header.Set(output.HeaderGeneration, fmt.Sprint(at.Generation))
		m.Header.Set(output.HeaderPosition, fmt.Sprintf("%d.0", at.Seq))
		m.Header.Set(output.HeaderPrevious, string(output.Previous{Same: newest[stream], Any: last}.Append(nil)))
		ack, err := r.js.PublishMsg(r.within(), m)
		must(t, err)
		newest[stream], last = at, at
		return ack.Sequence
	}
	left := func(compacted map[string]output.Compaction) (list string, err error) {
		checker := output.Checker{Untrimmed: true, Compactions: func() (map[string]output.Compaction, error) { return compacted, nil }}
		failed := output.Scan(r.within(), r.js, name, 1, 1000, func(seq uint64, subject string, h nats.Header) error {
			list += fmt.Sprintf(" %d:%s", seq, subject)
			if subject != natsconn.FenceSubject(plan.Name, 0) && err == nil {
				err = checker.Next(seq, subject, h)
			}
			return nil
		})
		must(t, failed)
		return list, err
	}
	for i := range 3 { // 1 to 12
		if i == 1 { // the app is taken back by two frames
			next = result.Position{Generation: 2, Seq: 3}
		}
		publish("alerts.a", "Alerts")
		publish("alerts.b", "Alerts")
		publish("alerts.a", "Alerts")
		publish(natsconn.OutSubject(plan.Name, "Other", 0), "Other")
	}
	publish("alerts.c", "Alerts")
	l := newLeader(r.s, 1)
	must(t, l.retention.trimResults(r.within(), plan.Name))
	if got, err := left(nil); !strings.HasPrefix(got, " 1:") || err != nil {
		t.Errorf("without a record, %s are left, %v", got, err)
	}
	fence := output.NewFence("me", plan.Digest, 1, output.Record{Newest: newest, Last: last, Through: 10})
	_, err = r.js.Publish(r.within(), natsconn.FenceSubject(plan.Name, 0), encoded(t, fence))
	must(t, err)
	must(t, l.retention.trimResults(r.within(), plan.Name))
	compacted, err := output.ReadCompactions(r.within(), r.js, name)
	must(t, err)
	const want = " 4:out.bounded.Other.0 6:alerts.b 8:out.bounded.Other.0 9:alerts.a 10:alerts.b 11:alerts.a 12:out.bounded.Other.0 13:alerts.c 14:ef.fence.bounded.0"
	got, err := left(compacted)
	if got != want || err != nil || fmt.Sprint(compacted) != "map[Alerts:{8 [2:3.0]}]" {
		t.Errorf("%s are left, %v %v, want %s", got, compacted, err, want)
	}
	var missing *output.MissingError
	if _, err := left(nil); !errors.As(err, &missing) {
		t.Errorf("without the sequence in the metadata, the error is %v", err)
	}
	stream, err := r.js.Stream(r.within(), name)
	must(t, err)
	must(t, stream.DeleteMsg(r.within(), 11))
	publish("alerts.c", "Alerts")
	if _, err := left(compacted); !errors.As(err, &missing) || missing.Next.Seq != 11 {
		t.Errorf("a lost result after the sequence in the metadata: %v", err)
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}
