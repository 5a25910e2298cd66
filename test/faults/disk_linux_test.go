package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// TestFullDisk fills the disk of the data folder. Publishers get an error, health and doctor report
// the full disk, and Raft keeps its leader. Once there is space again, the same process goes on: no
// acknowledged event is lost, and each result appears once. The test does this twice, with a kill
// in between.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if !d.own {
		t.Fatal("this test needs to mount a tmpfs, and the system refuses that: run it as root, or allow unprivileged user namespaces")
	}
	rnd := random(t)
	messages := trades(rnd, 6000)
	want := offline(t, messages)
	late := write(t, "late.siddhi", `@app:name('Late') define stream L (n long); from L#window.time(1 sec) select n insert all events into LateOut;`)
	data := filepath.Join(d.dir, "data")
	pub := newPublisher(t, rnd, messages)
	args := append(apps(), late, "--disk.reserve", "16MiB", "--checkpoint.interval", "200ms", "--wal.durability", "fast", "--metrics.listen", "127.0.0.1:0")

	p := serving(t, data, args...)
	for i := range 2 {
		must(t, pub.run(p.url(), (2*i+1)*len(messages)/5, 50))
		before := termOf(t, p.connect())
		nc := p.connect()
		other := streamOfAnother(t, nc)
		// Rows leave the window while the disk is full, unless the machine is slow.
		for n := range 50 {
			publish(t, nc, "L", fmt.Sprintf(`{"n":%d}`, 50*i+n))
		}
		d.fill(t)
		eventually(t, "publishers get an error", func() bool {
			m, err := nc.Request("events.L", []byte(`{"no":"event"}`), patience)
			must(t, err)
			var r *refusal
			return errors.As(readAnswer(m), &r) && r.code == 20011 && strings.Contains(r.text, "disk.reserve")
		})
		eventually(t, "JetStream has met the full disk", func() bool {
			_ = other() // refused
			return strings.Count(p.log.String(), "critical write error") > 0
		})
		if out, _ := exec.Command(binary, "doctor", "--server", p.url()).CombinedOutput(); !strings.Contains(string(out), "the disk of "+data+" is full") {
			t.Errorf("doctor does not say that the disk is full:\n%s", out)
		}
		if out, err := exec.Command(binary, "health", "--ready", "--url", healthURL(p)).CombinedOutput(); err == nil || !strings.Contains(string(out), "the disk of "+data+" is full") {
			t.Errorf("health does not say that the disk is full: %v\n%s", err, out)
		}
		if after := termOf(t, nc); after > before+1 {
			t.Errorf("Raft went from term %d to %d", before, after)
		}
		if i == 1 { // while files are half written
			p.signal(9)
			p.end()
		}
		d.free(t)
		if i == 1 {
			p = serving(t, data, args...)
		}
		eventually(t, "publishers get acknowledgements again", func() bool {
			// One at a time: of several in flight, the first could be refused and the rest accepted.
			err := pub.run(p.url(), (2*i+2)*len(messages)/5, 1)
			var r *refusal
			if err != nil && !errors.As(err, &r) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	must(t, pub.run(p.url(), len(messages), 50))
	eventually(t, "all rows have left the window", func() bool {
		js, err := p.connect().JetStream()
		must(t, err)
		info, err := js.StreamInfo(natsconn.OutStream("Late", 0), &nats.StreamInfoRequest{SubjectsFilter: "out.Late.>"})
		return err == nil && info.State.Subjects["out.Late.LateOut.0"] >= 200
	})
	p.stop()
	checkSame(t, stored(t, data), want)
	kinds := map[string]int{}
	for _, r := range storedOf(t, data, "Late")["out.Late.LateOut.0"] {
		kinds[r.kind+" "+r.data]++
	}
	for n := range 100 {
		for _, kind := range []string{"current", "expired"} {
			if got := kinds[fmt.Sprintf("%s %d", kind, n)]; got != 1 {
				t.Errorf("row %d is there %d times as %s", n, got, kind)
			}
		}
	}
}

// streamOfAnother makes a stream that is not one of EventFlux, and returns a function that stores a
// message in it.
func streamOfAnother(t *testing.T, nc *nats.Conn) func() error {
	t.Helper()
	js, err := nc.JetStream(nats.MaxWait(patience))
	must(t, err)
	_, err = js.AddStream(&nats.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
	must(t, err)
	message := make([]byte, 64<<10)
	store := func() error {
		_, err := js.Publish("other", message, nats.AckWait(100*time.Millisecond))
		return err
	}
	return store
}

// healthURL returns where a process serves its health.
func healthURL(p *process) string {
	_, rest, _ := strings.Cut(p.log.String(), "url=http://")
	address, _, _ := strings.Cut(rest, "/metrics")
	return "http://" + address
}

func termOf(t *testing.T, nc *nats.Conn) checkpoint.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	status, err := (&control.Client{Conn: nc}).Status(ctx)
	must(t, err)
	return status.Term
}
