package control_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// Of the members of a group NATS chooses one at random for each request, so that a frozen
// one may get several in a row. Each is asked again of the others.
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
	// The one attempt may take all the time that there is, so what is asked again is asked
	// within it.
	c := control.Client{Conn: nc, Attempt: patience}
	if list, err := c.Apps(within(t)); err != nil || len(list.Apps) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
}
