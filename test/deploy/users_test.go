package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/cli/certs"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// TestUsers checks the permissions of every user against a table: + if the server allows it, . if
// it refuses. A line of the input is "pub SUBJECT" or "sub SUBJECT".
func TestUsers(t *testing.T) {
	secrets := keys(t)
	srv := alone(t, secrets)
	users := map[string]*asker{}
	for _, u := range certs.Users {
		users[u] = newAsker(t, srv, secrets, u)
	}
	datadriven.RunTest(t, "testdata/users.txt", func(t *testing.T, d *datadriven.TestData) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%-58s", "")
		for _, u := range certs.Users {
			fmt.Fprintf(&b, " %s", u)
		}
		b.WriteByte('\n')
		for line := range strings.Lines(d.Input) {
			verb, subject, _ := strings.Cut(strings.TrimSpace(line), " ")
			fmt.Fprintf(&b, "%-58s", verb+" "+subject)
			for _, u := range certs.Users {
				mark := "."
				if users[u].may(verb, subject) {
					mark = "+"
				}
				fmt.Fprintf(&b, " %-*s", len(u), mark)
			}
			b.WriteByte('\n')
		}
		lines := strings.Split(b.String(), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n")
	})
}

// asker is a user that tries things.
type asker struct {
	t  *testing.T
	nc *nats.Conn
}

func newAsker(t *testing.T, srv *natsServer, secrets, user string) *asker {
	t.Helper()
	nc, err := srv.as(secrets, user, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	must(t, err)
	t.Cleanup(nc.Close)
	return &asker{t, nc}
}

// may reports whether the user may do something. The server answers only if it refuses: the error
// arrives before the answer to the flush, and names the subject.
func (a *asker) may(verb, subject string) bool {
	what := map[string]string{"pub": "Publish", "sub": "Subscription"}[verb]
	switch verb {
	case "pub":
		must(a.t, a.nc.Publish(subject, []byte("{}")))
	case "sub":
		sub, err := a.nc.SubscribeSync(subject)
		must(a.t, err)
		defer func() { _ = sub.Unsubscribe() }() // if it was refused, it is gone already
	default:
		a.t.Fatalf("%q is neither pub nor sub", verb)
	}
	must(a.t, a.nc.Flush())
	err := a.nc.LastError()
	refused := errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), fmt.Sprintf("%s to %q", what, subject))
	if err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		a.t.Fatalf("%s %s: %v", verb, subject, err)
	}
	return !refused
}

// TestOnlyTheCheckpointerEmptiesLogs makes every user try to empty a log, by a purge and by limits
// that leave one message. The checkpointer's own attempt proves that the tries would work.
func TestOnlyTheCheckpointerEmptiesLogs(t *testing.T) {
	secrets := keys(t)
	srv := cluster(t, secrets)[0]
	nc, err := srv.as(secrets, "checkpointer")
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = natsconn.EnsureApp(ctx, js, "A", 1, natsconn.StreamLimits{})
	must(t, err)
	_, err = nc.RequestWithContext(ctx, natsconn.DeploySubject("A", 0), []byte("frame"))
	must(t, err)
	must(t, natsconn.OpenWAL(ctx, js, "A", 0, 0))
	const frames = 4
	for range frames - 1 {
		_, err := nc.RequestWithContext(ctx, natsconn.WALSubject("A", 0), []byte("frame"))
		must(t, err)
	}
	left := func() uint64 {
		log, err := js.Stream(ctx, "EFW_A_0")
		must(t, err)
		return log.CachedInfo().State.Msgs
	}
	log, err := natsconn.FindWAL(ctx, js, "A", 0)
	must(t, err)
	emptied := log.CachedInfo().Config
	emptied.Discard, emptied.MaxMsgs = jetstream.DiscardOld, 1
	update, err := json.Marshal(emptied)
	must(t, err)
	tries := func(nc *nats.Conn) {
		must(t, nc.Publish("$JS.API.STREAM.UPDATE.EFW_A_0", update))
		must(t, nc.Publish("$JS.API.STREAM.CREATE.EFW_A_0", update))
		must(t, nc.Flush())
	}
	for _, u := range certs.Users {
		if u == "checkpointer" {
			continue
		}
		a := newAsker(t, srv, secrets, u)
		tries(a.nc)
		must(t, a.nc.Publish("$JS.API.STREAM.PURGE.EFW_A_0", nil))
		must(t, a.nc.Flush())
		// The server executes this update after any request that it let through.
		_, err := js.UpdateStream(ctx, log.CachedInfo().Config)
		must(t, err)
		if n := left(); n != frames {
			t.Fatalf("after %s has tried, %d of %d frames are left", u, n, frames)
		}
	}
	tries(nc)
	eventually(t, "the limits of the checkpointer hold", func() bool { return left() == 1 })
}
