package checkpointer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// there lists the streams of apps.
func (r *rig) there() (all []string) {
	r.t.Helper()
	names := r.js.StreamNames(r.within())
	for name := range names.Name() {
		if !strings.HasPrefix(name, "KV_") {
			all = append(all, name)
		}
	}
	must(r.t, names.Err())
	slices.Sort(all)
	return all
}

// hasAll checks that exactly the streams of an app exist.
func (r *rig) hasAll(app string, partitions uint32) {
	r.t.Helper()
	want := natsconn.AppStreams(app, partitions)
	slices.Sort(want)
	if have := r.there(); !slices.Equal(have, want) {
		r.t.Errorf("the streams are %v, want %v", have, want)
	}
}

// A successful deploy has made the streams, with the limits of the checkpointer.
func TestDeployMakesTheStreams(t *testing.T) {
	r := newRig(t)
	_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: textOf("app", 3)})
	must(t, err)
	r.hasAll("app", 3)
	log, err := natsconn.FindWAL(r.within(), r.js, "app", 2)
	must(t, err)
	if n := log.CachedInfo().Config.MaxBytes; n != 8<<20 {
		t.Errorf("the log takes %d bytes", n)
	}
}

// A deploy that cannot make the streams fails, says why, and succeeds once it can.
func TestDeployWithoutItsStreams(t *testing.T) {
	r := newRig(t)
	foreign := jetstream.StreamConfig{Name: "EFW_app_1", Subjects: []string{"foreign"}}
	_, err := r.js.CreateStream(r.within(), foreign)
	must(t, err)
	_, err = r.ctl.Deploy(r.within(), control.DeployRequest{Text: textOf("app", 3)})
	if control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), "EFW_app_1 exists with other settings") {
		t.Errorf("%v", err)
	}
	if r.fsm.app("app") != nil {
		t.Error("the app is deployed")
	}
	must(t, r.js.DeleteStream(r.within(), foreign.Name))
	_, err = r.ctl.Deploy(r.within(), control.DeployRequest{Text: textOf("app", 3)})
	must(t, err)
	r.hasAll("app", 3)
}

// If Raft refuses a text, no streams are made for its partitions.
func TestRefusedDeployMakesNoStreams(t *testing.T) {
	r := newRig(t)
	r.run("app", 1)
	if _, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: textOf("app", 2)}); control.Code(err) != control.CodeInvalid {
		t.Errorf("%v", err)
	}
	r.hasAll("app", 1)
}

// A new leader makes missing streams, with its configured limits. If tasks have worked with
// a stream, it logs that.
func TestNewLeaderMakesWhatIsMissing(t *testing.T) {
	r := newRig(t)
	r.run("app", 2)
	_, err := natsconn.EnsureWAL(r.within(), r.js, "app", 0, natsconn.StreamLimits{BytesMax: 1 << 20})
	must(t, err)
	for _, name := range []string{"EFO_app_1", "EFD_app"} {
		must(t, r.js.DeleteStream(r.within(), name))
	}
	ctx, resign := context.WithCancel(r.within())
	next := newLeader(r.s, uint64(r.s.leading().term))
	ended := make(chan struct{})
	go func() { defer close(ended); next.run(ctx) }()
	defer func() { resign(); <-ended }()
	made := func() bool {
		log, err := natsconn.FindWAL(r.within(), r.js, "app", 0)
		must(t, err)
		return log.CachedInfo().Config.MaxBytes == 8<<20 && len(r.there()) == 5
	}
	for ; !made(); pauseFor(ctx, time.Millisecond) {
		must(t, ctx.Err())
	}
	r.hasAll("app", 2)
	resign()
	<-ended
	for _, name := range []string{"EFO_app_1", "EFD_app"} {
		if said := r.said.String(); strings.Count(said, "it was made again") != 2 || !strings.Contains(said, "jetstream="+name) {
			t.Errorf("the log does not mention %s:\n%s", name, said)
		}
	}
}

// The leader checks again later, and makes nothing for an app that is removed.
func TestMissingStreamsAreMade(t *testing.T) {
	r := newRig(t)
	r.run("app", 2)
	l := r.s.leading()
	must(t, r.js.DeleteStream(r.within(), "EFO_app_1"))
	must(t, l.streams.lookAfterStreams(r.within(), map[string]bool{"app": true}))
	r.hasAll("app", 2)
	must(t, r.ctl.Do(r.within(), control.VerbRemove, control.AppRequest{App: "app"}, nil))
	must(t, l.streams.remakeStreams(r.within(), "app"))
	if left := r.there(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// A log that tasks have worked with is not made again.
func TestLostLogIsNotMadeAgain(t *testing.T) {
	r := newRig(t)
	r.run("app", 2)
	must(t, r.js.DeleteStream(r.within(), "EFW_app_1"))
	err := r.s.leading().streams.lookAfterStreams(r.within(), map[string]bool{"app": true})
	if err == nil || !strings.Contains(err.Error(), "EFW_app_1 is gone") || !strings.Contains(err.Error(), "nats stream restore") {
		t.Errorf("%v", err)
	}
	if left := r.there(); len(left) != 4 {
		t.Errorf("%v are there", left)
	}
}

// A removal does not delete streams while they are being made, and the other way round.
func TestStreamsAreMadeOrDeletedInTurn(t *testing.T) {
	r := newRig(t)
	r.run("app", 1)
	l := r.s.leading()
	done, err := l.streams.turn(r.within(), "app")
	must(t, err)
	ctx, cancel := context.WithCancel(r.within())
	cancel()
	if err := l.streams.remakeStreams(ctx, "app"); !errors.Is(err, context.Canceled) {
		t.Errorf("streams are made out of turn: %v", err)
	}
	if err := l.remover.carryOutRemoval(ctx, "app"); !errors.Is(err, context.Canceled) {
		t.Errorf("streams are deleted out of turn: %v", err)
	}
	r.hasAll("app", 1)
	done()
	must(t, l.streams.remakeStreams(r.within(), "app"))
}

// The code of an error of JetStream tells whether a retry can succeed.
func TestWhyStreamsCannotBeMade(t *testing.T) {
	for want, errs := range map[string][]error{
		control.CodeUnavailable: {errors.New("nats: timeout"), &jetstream.APIError{Code: 503, ErrorCode: 10008}, &jetstream.APIError{Code: 400, ErrorCode: 10005}},
		control.CodeInvalid:     {&natsconn.IncompatibleError{}, &jetstream.APIError{Code: 500, ErrorCode: 10047}},
	} {
		for _, err := range errs {
			if code := streamsCode(err); code != want {
				t.Errorf("%v: %s, want %s", err, code, want)
			}
		}
	}
}
