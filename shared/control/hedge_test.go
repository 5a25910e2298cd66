package control_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// NATS chooses a member of a group at random for each request, so a frozen one may get several
// in a row. The client repeats each of them, and another member answers.
func TestFrozenCheckpointer(t *testing.T) {
	nc := connect(t)
	asked := 0 // by the connection's one goroutine for the subscription
	_, err := nc.Subscribe(natsconn.ServiceSubject(control.Service, control.VerbApps), func(m *nats.Msg) {
		if asked++; asked > 2 {
			_ = m.Respond([]byte(`{"apps":[{"name":"a"}]}`))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// The one attempt may use all the available time, so the client must repeat requests
	// within it.
	c := control.Client{Conn: nc, Attempt: patience}
	if list, err := c.Apps(within(t)); err != nil || len(list.Apps) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
}
