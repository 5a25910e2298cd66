package deploy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/nats-io/nats.go"

	"eventflux/cmd/eventflux/certs"
)

// TestUsers asks for every user whether it may do something, and compares with a table
// that a person can review: + for what the server lets the user do, . for what it
// refuses. A line of the input is "pub SUBJECT" or "sub SUBJECT".
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

// asker is a user that tries things out.
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

// may tries it. The server says nothing where it lets a user; where it does not, it says
// so, and names what it was, before it answers the ping of the flush.
func (a *asker) may(verb, subject string) bool {
	what := map[string]string{"pub": "Publish", "sub": "Subscription"}[verb]
	switch verb {
	case "pub":
		must(a.t, a.nc.Publish(subject, []byte("{}")))
	case "sub":
		sub, err := a.nc.SubscribeSync(subject)
		must(a.t, err)
		defer func() { _ = sub.Unsubscribe() }() // a refused one is gone already
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
