package checkpointer

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A deploy refuses results whose subjects belong to others, and names them.
func TestDeployLooksAtSubjectsOfResults(t *testing.T) {
	r := newRig(t)
	_, err := r.js.CreateStream(r.within(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*.paid"}})
	must(t, err)
	const head = "define stream S (n int, k string); "
	deploy := func(name, text string) error {
		_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: "@app:name('" + name + "') " + head + text})
		return err
	}
	must(t, deploy("reader", "@source(subject='read.>') define stream R (n int); from R select n insert into Out;"))
	must(t, deploy("writer", "@sink(stream='A', subject='alerts.{k}.{n}') from S select k, n insert into A; from S select n insert into B;"))
	must(t, deploy("bounded", "@sink(stream='A', max.msgs.per.subject='5') from S select n insert into A;"))
	must(t, deploy("link", "@source(subject='out.later.A.*') define stream R (n int); from R select n insert into Out;"))
	for n, c := range []struct{ text, refused string }{
		{"@sink(stream='A', subject='orders.{k}.{n}') from S select k, n insert into A;", "captured by JetStream stream ORDERS"},
		{"@sink(stream='A', subject='orders.{k}') from S select k insert into A;", ""},
		{"@sink(stream='A', subject='read.{k}') from S select k insert into A;", "events of stream R of app reader, which reads read.>"},
		{"@sink(stream='A', subject='alerts.high.{k}') from S select k insert into A;", "captured by JetStream stream EFO_writer_0"},
		{"@source(subject='alerts.>') define stream R (n int); from R select n insert into Out;", "has results of an app, in JetStream stream EFO_writer_0"},
		{"@source(subject='out.writer.A.*') define stream R (n int); from R select n insert into Out;", "have the subject 'alerts.{k}.{n}'"},
		{"@source(subject='out.writer.B.*') define stream R (n int); from R select n insert into Out;", ""},
		{"@source(subject='out.bounded.A.*') define stream R (n int); from R select n insert into Out;", "only the newest 5 stay (max.msgs.per.subject)"},
	} {
		err := deploy("app"+string(rune('a'+n)), c.text)
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %q", c.text, err, c.refused)
		}
	}
	if err := deploy("later", "@sink(stream='A', subject='later.{k}') from S select k insert into A;"); err == nil || !strings.Contains(err.Error(), "reads out.later.A.*") {
		t.Errorf("results that another app reads: %v", err)
	}
	if err := deploy("later", "@sink(stream='A', max.msgs.per.subject='1') from S select n insert into A;"); err == nil || !strings.Contains(err.Error(), "stream R of app link reads out.later.A.*") {
		t.Errorf("a bound on results that another app reads: %v", err)
	}
}

// An output stream has the subjects of every version, since its results stay there. They are as
// the services make them, and a wider subject takes the place of a narrower one.
func TestUpgradesWidenTheOutputStream(t *testing.T) {
	r := newRig(t)
	text := func(subject string) string {
		return "@app:name('app') define stream S (k string); @sink(stream='A', subject='" + subject + "') @info(name='q') from S select k insert into A;"
	}
	_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: text("alerts.high")})
	must(t, err)
	l := r.s.leading()
	for _, c := range []struct{ subject, want string }{
		{"shops.{k}.x", "alerts.high ef.fence.app.0 out.app.*.0 shops.*.x"},
		{"alerts.{k}", "alerts.* ef.fence.app.0 out.app.*.0 shops.*.x"},
		{"alerts.low", "alerts.* ef.fence.app.0 out.app.*.0 shops.*.x"},
	} {
		done, err := l.streams.turn(r.within(), "app")
		must(t, err)
		must(t, l.streams.makeStreams(r.within(), "app", 1, text(c.subject)))
		done()
		stream, err := natsconn.FindOut(r.within(), r.js, "app", 0)
		must(t, err)
		got := slices.Clone(stream.CachedInfo().Config.Subjects)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: the output stream has %v, want %s", c.subject, got, c.want)
		}
	}
}

// An upgrade is refused, and so is its plan, if NATS would not take its subjects beside those of
// an earlier version.
func TestUpgradesToSubjectsThatPartlyOverlap(t *testing.T) {
	r := newRig(t)
	text := func(subject string) string {
		return "@app:name('app') @app:partitions('2') define stream S (k string); @sink(stream='A', subject='" + subject + "') partition with (k of S) begin @info(name='q') from S select k insert into A; end;"
	}
	_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: text("a.x.{partition}.{k}")})
	must(t, err)
	for subject, refused := range map[string]string{
		"a.x.{partition}.{k}":   "",
		"b.{partition}.{k}":     "",
		"a.x.{partition}.y":     "",
		"a.{k}.{partition}.{k}": "",
		"a.{k}.{partition}.y":   "a subject of a.x.0.*, which an earlier version",
		"a.x.{k}.{partition}":   "a subject of a.x.0.*, which an earlier version",
	} {
		plan, err := siddhiql.Compile(text(subject))
		must(t, err)
		err = r.s.leading().admission.overlapsFormer(plan)
		if (err != nil) != (refused != "") || err != nil && !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: %v, want %q", subject, err, refused)
		}
	}
}
