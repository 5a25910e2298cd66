package faults

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/test/program"
)

// TestChainIsKilledInTurns runs two processes, each with an ingest and a processor, and two apps;
// the second app reads the results of the first. Under load it kills the two processes in turn, at
// random moments. Both apps must put out the results of a replay. The long form runs for ten
// minutes: -duration 10m.
func TestChainIsKilledInTurns(t *testing.T) {
	const perMessage = 20
	rnd := random(t)
	c := newCluster(t, 1, often...)
	c.apps = map[string]int{"First": 1, "Second": 1}
	for _, name := range []string{"First", "Second"} {
		text, err := os.ReadFile(app(strings.ToLower(name)))
		must(t, err)
		_, err = c.ctl.Deploy(c.within(patience), control.DeployRequest{Text: string(text)})
		must(t, err)
	}
	begin := func(id string) *process {
		p := c.serve("ingest,processor", t.TempDir(), "--processor.id", id)
		c.begun = append(c.begun, p)
		return p
	}
	names := []string{"one", "two"}
	processes := []*process{begin(names[0]), begin(names[1])}
	for _, p := range processes {
		p.awaitReady()
	}

	var lines strings.Builder
	f := &feed{url: c.url, every: time.Millisecond, make: func(i int) *nats.Msg {
		var rows []string
		for k := range perMessage {
			row := fmt.Sprintf(`{"n":%d,"v":%d}`, i*perMessage+k, (i*perMessage+k)%97)
			rows = append(rows, row)
			fmt.Fprintf(&lines, `{"stream":"Trades","ts":%d,"data":%s}`+"\n", i, row)
		}
		return &nats.Msg{
			Subject: "events.Trades", Header: nats.Header{nats.MsgIdHdr: {fmt.Sprint("m", i)}},
			Data: []byte("[" + strings.Join(rows, ",") + "]"),
		}
	}}
	ctx, stop := context.WithTimeout(context.Background(), *during)
	defer stop()
	fed := make(chan error, 1)
	go func() { fed <- f.run(ctx) }()
	kills := 0
	for ctx.Err() == nil {
		select {
		case <-time.After(time.Duration(200+rnd.IntN(1500)) * time.Millisecond):
		case <-ctx.Done():
			continue
		}
		victim := kills % 2
		processes[victim].signal(syscall.SIGKILL)
		processes[victim].end()
		processes[victim] = begin(names[victim])
		kills++
	}
	must(t, <-fed)
	acked, again := f.count()
	if kills == 0 || acked == 0 {
		t.Fatalf("%d kills, %d messages: the test tests nothing", kills, acked)
	}

	want := results{}
	replaySpread(t, "First", 1, lines.String(), want)
	var mid strings.Builder
	for i, r := range want["out.First.Mid.0"] {
		fmt.Fprintf(&mid, `{"stream":"In","ts":%d,"data":[%s]}`+"\n", i, r.data)
	}
	replaySpread(t, "Second", 1, mid.String(), want)
	if n := len(want["out.First.Mid.0"]); n != acked*perMessage || len(want["out.Second.Out.0"]) != n {
		t.Fatalf("replay gives %d and %d results of %d events", n, len(want["out.Second.Out.0"]), acked*perMessage)
	}
	untimed := func(all results) results { // arrival drives the clock
		for _, rows := range all {
			for i := range rows {
				rows[i].ts = 0
			}
		}
		return all
	}
	last := fmt.Sprintf(`{"n":%d,`, acked*perMessage-1)
	program.Eventually(t, 10*patience, "the last event has a result of both apps", func() bool {
		for name, subject := range map[string]string{"First": "out.First.Mid.0", "Second": "out.Second.Out.0"} {
			m, err := natsconn.LastMessage(c.within(patience), c.nc, natsconn.OutStream(name, 0), subject)
			if err != nil || !strings.HasPrefix(string(m.Data), last) {
				return false
			}
		}
		return true
	})
	got := results{}
	for name := range c.apps {
		readStream(c.within(10*patience), t, c.js, natsconn.OutStream(name, 0), got)
	}
	checkSame(t, untimed(got), untimed(want))
	t.Logf("%d kills, %d events, %d requests published again", kills, acked*perMessage, again)
	for _, p := range slices.Backward(processes) {
		p.stop()
	}
}
