package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

// desk is a RequestServer for requests of up to 40 bytes, which answers on "ask".
type desk struct {
	t      *testing.T
	nc     *nats.Conn
	log    testlog.Buffer
	taken  chan string   // requests that were let in
	answer chan struct{} // lets one of them be answered
}

func openDesk(t *testing.T, requestsMax int) *desk {
	t.Helper()
	d := &desk{t: t, nc: connect(t), taken: make(chan string, 10), answer: make(chan struct{}, 10)}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(func() { close(d.answer) })
	info, err := micro.AddService(d.nc, micro.Config{Name: "desk", Version: "0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	handler := control.NewRequestServer(d.nc, requestsMax, 40, d.log.Logger()).Handler(&group, func(r micro.Request) error {
		d.taken <- string(r.Data())
		<-d.answer
		switch string(r.Data()) {
		case "refused":
			return fmt.Errorf("do it: %w", &control.Error{Code: control.CodeNotFound, Text: "no such thing"})
		case "late":
			return fmt.Errorf("wait: %w", context.DeadlineExceeded)
		case "broken":
			return io.ErrUnexpectedEOF
		}
		return r.RespondJSON("fine")
	})
	if err := info.AddEndpoint("ask", handler); err != nil {
		t.Fatal(err)
	}
	return d
}

// ask returns the answer, or the error with its code.
func (d *desk) ask(request string) string {
	d.t.Helper()
	m, err := d.nc.RequestWithContext(within(d.t), "ask", []byte(request))
	if err != nil {
		d.t.Error(err)
		return ""
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		return code + " " + m.Header.Get(micro.ErrorHeader)
	}
	return string(m.Data)
}

func TestDeskAnswers(t *testing.T) {
	d := openDesk(t, 100)
	for request, want := range map[string]string{
		"good":                  `"fine"`,
		"refused":               "404 do it: no such thing",
		"late":                  "503 wait: context deadline exceeded",
		"broken":                "500 unexpected EOF",
		strings.Repeat("x", 40): `"fine"`,
		strings.Repeat("x", 41): "413 a request of 41 bytes, limit 40",
	} {
		d.answer <- struct{}{}
		if got := d.ask(request); got != want {
			t.Errorf("%q is answered by %q, want %q", request, got, want)
		}
	}
}

func TestDeskIsFull(t *testing.T) {
	d := openDesk(t, 2)
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() { d.ask("slow") })
	}
	<-d.taken
	<-d.taken
	const full = "503 2 requests are being answered; try again"
	if got := d.ask("third"); got != full {
		t.Errorf("the third is answered by %q, want %q", got, full)
	}
	d.answer <- struct{}{}
	d.answer <- struct{}{}
	asking.Wait()
	d.answer <- struct{}{}
	got := full
	for got == full { // the slots are free soon after the answers
		got = d.ask("fourth")
	}
	if got != `"fine"` {
		t.Errorf("the fourth is answered by %q", got)
	}
}

// JetStream would treat an answer on one of its request subjects as a request.
func TestDeskAnswersNoProxy(t *testing.T) {
	d := openDesk(t, 100)
	answers, err := d.nc.SubscribeSync("$JS.API.STREAM.PURGE.X")
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"good", strings.Repeat("x", 41)} {
		if err := d.nc.PublishRequest("ask", "$JS.API.STREAM.PURGE.X", []byte(request)); err != nil {
			t.Fatal(err)
		}
	}
	d.answer <- struct{}{}
	if got := d.ask("next"); got != `"fine"` {
		t.Errorf("what comes next is answered by %q", got)
	}
	if got := <-d.taken; got != "next" {
		t.Errorf("%q was let in", got)
	}
	if n, _, err := answers.Pending(); n != 0 || err != nil {
		t.Errorf("%d answers, %v", n, err)
	}
	if n := strings.Count(d.log.String(), "request=ask reply=$JS.API.STREAM.PURGE.X"); n != 2 {
		t.Errorf("%d lines in the log, want 2:\n%s", n, &d.log)
	}
}

func TestParse(t *testing.T) {
	var r control.AppRequest
	for data, want := range map[string]control.AppRequest{"": {}, `{"app":"a"}`: {App: "a"}} {
		r = control.AppRequest{}
		if err := control.Parse([]byte(data), &r); err != nil || r != want {
			t.Errorf("%s gives %+v, %v", data, r, err)
		}
	}
	var refused *control.Error
	if err := control.Parse([]byte("{"), &r); !errors.As(err, &refused) || refused.Code != control.CodeInvalid {
		t.Errorf("{ gives %v", err)
	}
}

// An answer that is sent at once does not race with what micro does after the handler has
// returned. The race detector usually finds such a race.
func TestRefusedAtOnce(t *testing.T) {
	const requests = 1000
	nc := connect(t)
	info, err := micro.AddService(nc, micro.Config{Name: "hasty", Version: "0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	refused := &control.Error{Code: control.CodeNotFound, Text: "no such thing"}
	handler := control.NewRequestServer(nc, requests, 40, slog.Default()).Handler(&group, func(micro.Request) error { return refused })
	if err := info.AddEndpoint("hasty", handler); err != nil {
		t.Fatal(err)
	}
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for range requests {
		if err := nc.PublishRequest("hasty", inbox, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range requests {
		m, err := answers.NextMsgWithContext(within(t))
		if err != nil || m.Header.Get(micro.ErrorCodeHeader) == "" {
			t.Fatalf("%+v, %v", m, err)
		}
	}
}
