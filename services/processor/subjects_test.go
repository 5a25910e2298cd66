package processor

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// Results go to the subjects that the app has chosen, whatever is in their attributes, and say
// which stream they are of.
func TestResultsGoToTheSubjectsOfTheApp(t *testing.T) {
	r := newRig(t, `@app:name('sums')
define stream S (k string, v int);
@sink(stream='Alerts', subject='alerts.{k}.{partition}.{v}')
from S select k, v, v > 0 as b insert into Alerts;
@sink(stream='Bools', subject='bools.{b}.{d}.{n}')
from S select v > 1 as b, v / 2.0 as d, v / 0 as n insert into Bools;
from S select k insert into Out;`)
	for i, k := range []string{"a", "", "a b", "x.y", "*", ">", "50%", "é", "null", "a\r\n\tb\x00"} {
		r.send("S", int64(1000+i), "", k, i-1)
	}
	r.drained()
	var got []string
	for _, line := range r.results() {
		subject, rest, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(subject, "out.") {
			got = append(got, subject)
		}
		if position, _, _ := strings.Cut(rest, " "); subject == "alerts.x%2Ey.0.2" && position != "5.0" {
			t.Errorf("%s: position %s, want 5.0", line, position)
		}
	}
	want := []string{
		"alerts.a.0.-1", "bools.false.-0%2E5.%null",
		"alerts.%empty.0.0", "bools.false.0.%null",
		"alerts.a%20b.0.1", "bools.false.0%2E5.%null",
		"alerts.x%2Ey.0.2", "bools.true.1.%null",
		"alerts.%2A.0.3", "bools.true.1%2E5.%null",
		"alerts.%3E.0.4", "bools.true.2.%null",
		"alerts.50%25.0.5", "bools.true.2%2E5.%null",
		"alerts.é.0.6", "bools.true.3.%null",
		"alerts.null.0.7", "bools.true.3%2E5.%null",
		"alerts.a%0D%0A%09b%00.0.8", "bools.true.4.%null",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	m, err := natsconn.LastMessage(r.within(), r.nc, natsconn.OutStream("sums", 0), "alerts.>")
	must(t, err)
	if stream, previous := m.Header.Get(output.HeaderStream), m.Header.Get(output.HeaderPrevious); stream != "Alerts" || previous != "1:10.0 1:10.2" {
		t.Errorf("the newest alert is of stream %q and follows %s", stream, previous)
	}
	out, err := natsconn.LastMessage(r.within(), r.nc, natsconn.OutStream("sums", 0), "out.>")
	must(t, err)
	if _, there := out.Header[output.HeaderStream]; there {
		t.Error("a result on out.> has the name of its stream twice")
	}
}

// A start finds how far each stream has come from the record alone, however many subjects there
// are: it repeats none of the results that were trimmed since.
func TestAStartNeedsNoResultOnChosenSubjects(t *testing.T) {
	r := newRig(t, `@app:name('sums')
define stream S (k string, v int);
@sink(stream='Each', subject='each.{v}')
from S select v insert into Each;`)
	for v := range 100 {
		r.send("S", int64(1000+v), "", "k", v)
	}
	r.drained()
	last := func() string {
		at, err := output.LastResult(r.within(), r.nc, "sums", 0)
		must(t, err)
		return at.String()
	}
	if got := last(); got != "1:101.0" {
		t.Errorf("the newest result is %s, want 1:101.0", got)
	}
	r.drained() // a start writes the record
	if got := last(); got != "1:101.0" {
		t.Errorf("after a start, the newest result is %s, want 1:101.0", got)
	}
	stream, err := r.js.Stream(r.within(), natsconn.OutStream("sums", 0))
	must(t, err)
	fence, err := natsconn.LastMessage(r.within(), r.nc, natsconn.OutStream("sums", 0), natsconn.FenceSubject("sums", 0))
	must(t, err)
	must(t, stream.Purge(r.within(), jetstream.WithPurgeSequence(fence.Seq)))
	r.send("S", 2000, "", "k", 100)
	r.drained()
	want := []string{`each.100 102.0 current 2000 {"v":100}`}
	if got := r.results(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A message that somebody else publishes on a subject of the app's choice is no result: a task
// starts after it, and all results are there once and in order.
func TestMessagesOfOthersAreNoResults(t *testing.T) {
	r := newRig(t, `@app:name('sums')
define stream S (k string, v int);
@sink(stream='Each', subject='each.{v}')
from S select v insert into Each;`)
	foreign := func() {
		t.Helper()
		_, err := r.js.Publish(r.within(), "each.other", []byte("hello"))
		must(t, err)
	}
	foreign()
	for v := range 3 {
		r.send("S", int64(1000+v), "", "k", v)
		if i := r.drained(); i.State != control.TaskDrained {
			t.Fatalf("task is %s: %s", i.State, i.Error)
		}
		foreign()
	}
	if at, err := output.LastResult(r.within(), r.nc, "sums", 0); err != nil || at.String() != "1:4.0" {
		t.Errorf("the newest result is %s, want 1:4.0 (%v)", at, err)
	}
	var got []string
	for _, line := range r.results() {
		if !strings.HasPrefix(line, "each.other ") {
			got = append(got, line)
		}
	}
	want := []string{`each.0 2.0 current 1000 {"v":0}`, `each.1 3.0 current 1001 {"v":1}`, `each.2 4.0 current 1002 {"v":2}`}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
