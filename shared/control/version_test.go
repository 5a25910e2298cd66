package control_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

func TestMeet(t *testing.T) {
	for _, c := range []struct {
		this, other string
		refused     bool
		says        string // in the log
	}{
		{"1.2.3", "1.2.3", false, ""},
		{"1.2.3", "", false, ""}, // a person
		{"1.2.3", "1.4.0", false, "this=1.2.3 other=1.4.0 where=\"processor p1\""},
		{"1.2.3", "1.2.4-rc.1", false, "other=1.2.4-rc.1"},
		{"0.1.0", "0.9.0", false, "other=0.9.0"}, // 0 is a major version like any other
		{"0.0.0-devel", "0.3.0", false, "other=0.3.0"},
		{"1.2.3", "2.0.0", true, "another major version is in the cluster, and refused"},
		{"1.2.3", "0.9.0", true, "another major version"},
		{"1.2.3", "latest", true, ""},
	} {
		var said testlog.Buffer
		self := &control.Self{Version: c.this, Name: "checkpointer c1", Log: said.Logger()}
		for range 2 {
			err := self.Meet("processor p1", c.other)
			if (control.Code(err) == control.CodeVersion) != c.refused || (err != nil) != c.refused {
				t.Errorf("%s meets %s: %v", c.this, c.other, err)
			}
		}
		if !strings.Contains(said.String(), c.says) {
			t.Errorf("%s meets %s: the log says %q, want %q in it", c.this, c.other, said.String(), c.says)
		}
		lines := 0
		if c.says != "" {
			lines = 1
		}
		if got := strings.Count(said.String(), "\n"); got != lines {
			t.Errorf("%s meets %s twice: %d lines in the log, want %d", c.this, c.other, got, lines)
		}
	}
	var nobody *control.Self
	if err := nobody.Meet("processor p1", "2.0.0"); err != nil || nobody.Headers() != nil {
		t.Errorf("one who says nothing of themselves: %v", err)
	}
	err := (&control.Self{Version: "1.2.3", Name: "checkpointer c1"}).Meet("processor p1", "2.0.0")
	const want = "processor p1 has version 2.0.0, and checkpointer c1 has 1.2.3: versions that differ in the first number do not work together; run a version 1.x as processor p1, or stop all and start all with 2.0.0; docs/operations.md, Rolling upgrade, has the order"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}

// A client sends its identity, learns who answers, and rejects an answer from another major
// version.
func TestAnswersOfOtherVersions(t *testing.T) {
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	asked := make(chan nats.Header, 10)
	answer := "1.4.0"
	_, err = nc.Subscribe(natsconn.ServiceSubject(control.Service, "*"), func(m *nats.Msg) {
		asked <- m.Header
		from := &control.Self{Version: answer, Name: "checkpointer c2"}
		_ = m.RespondMsg(&nats.Msg{Header: from.Headers(), Data: []byte(`{"apps":[{"name":"a","later":1}],"assigned":[],"later":{}}`)})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var said testlog.Buffer
	c := &control.Client{Conn: nc, Self: &control.Self{Version: "1.2.3", Name: "ingest i1", Log: said.Logger()}}
	list, err := c.Apps(ctx) // hedged, and with fields of a later version
	if err != nil || len(list.Apps) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := c.Trigger(ctx, control.AppRequest{App: "a"}); err != nil { // not hedged
		t.Fatal(err)
	}
	for range 2 {
		h := <-asked
		var who control.Self
		who.Version = "2.0.0"
		if err := who.Hear(h); err == nil || !strings.Contains(err.Error(), "ingest i1 has version 1.2.3") {
			t.Errorf("asked with %v: %v", h, err)
		}
	}
	if strings.Count(said.String(), "checkpointer c2") != 1 {
		t.Errorf("the log says %q, want one line about c2", said.String())
	}
	answer = "2.0.0"
	if _, err := c.Heartbeat(ctx, control.HeartbeatRequest{}); control.Code(err) != control.CodeVersion {
		t.Errorf("an answer of version 2.0.0: %v", err)
	}
}
