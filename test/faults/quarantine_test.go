package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// TestQuarantine: a frame of one app kills the process three times. After that no processor runs
// its partition, the process starts, and other apps go on. The app goes on once it is resumed with
// a build that survives the frame.
func TestQuarantine(t *testing.T) {
	p, o, seq := quarantined(t)
	if shown := o.command("app", "show", "Deadly"); !strings.Contains(shown, fmt.Sprintf("partition 0 is in quarantine: 3 processes died while they applied log sequence %d", seq)) {
		t.Error(shown)
	}
	p.arm()
	o.command("app", "resume", "Deadly")
	if got := o.ints("Deadly", "n", 1, 5); !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
		t.Errorf("results after the resumption: %v", got)
	}
	p.stop()
}

// TestDeadlyFrameIsSkipped: recover --skip goes on after the frame that killed the processes,
// without applying it.
func TestDeadlyFrameIsSkipped(t *testing.T) {
	p, o, seq := quarantined(t)
	o.command("recover", "Deadly", "--skip", fmt.Sprint(seq))
	if got := o.ints("Deadly", "n", 1, 4); !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Errorf("results without the frame: %v", got)
	}
	p.stop()
}

// quarantined runs two apps, and returns once one of them is in quarantine, with the sequence of
// the frame to blame. That frame still kills each process that applies it.
func quarantined(t *testing.T) (*process, *operator, uint64) {
	t.Helper()
	data := t.TempDir()
	other, deadly := write(t, "other.siddhi", counting("Other", 1, "Orders")), write(t, "deadly.siddhi", counting("Deadly", 1, "Deaths"))
	args := []string{other, deadly, "--checkpoint.interval=1h"}
	p := serving(t, data, args...)
	o := operate(p)
	o.accepted("events.Orders", `{"k":1}`)
	o.accepted("events.Deaths", `{"k":1}`)
	o.ints("Deadly", "n", 1, 1)
	o.command("checkpoint", "trigger", "Deadly")
	log, err := o.js.Stream(o.within(), natsconn.WALStream("Deadly", 0))
	must(t, err)
	seq := log.CachedInfo().State.LastSeq + 1
	rule := fmt.Sprintf("kill frame.Deadly.0.%d 1", seq)
	p.arm(rule)
	must(t, o.nc.Publish("events.Deaths", []byte(`{"k":1}`)))
	deaths := 0
	for {
		select {
		case <-p.exited:
		case <-p.ready:
		}
		if deaths == control.QuarantineAfter {
			break
		}
		if code := p.end(); code != -1 {
			t.Fatalf("death %d: ended with code %d", deaths+1, code)
		}
		deaths++
		p = runArmed(t, []string{rule}, data, args...)
	}
	p.awaitReady()
	o = operate(p)
	for range 3 {
		o.accepted("events.Orders", `{"k":1}`)
		o.accepted("events.Deaths", `{"k":1}`) // it waits in the log
	}
	if got := o.ints("Other", "n", 1, 4); !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Errorf("results of the other app: %v", got)
	}
	return p, o, seq
}

// operator runs commands against a process, and checks their effect.
type operator struct {
	t   *testing.T
	p   *process
	nc  *nats.Conn
	js  jetstream.JetStream
	ctl control.Client
}

func operate(p *process) *operator {
	p.t.Helper()
	o := &operator{t: p.t, p: p, nc: p.connect()}
	var err error
	o.js, err = jetstream.New(o.nc)
	must(p.t, err)
	o.ctl.Conn = o.nc
	return o
}

func (o *operator) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	o.t.Cleanup(cancel)
	return ctx
}

// command runs a command of the program, which must succeed.
func (o *operator) command(args ...string) string {
	o.t.Helper()
	out, err := o.try(args...)
	if err != nil {
		o.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (o *operator) try(args ...string) (string, error) {
	out, err := exec.CommandContext(o.within(), binary, append(args, "--server", o.p.url(), "--timeout", (3*patience).String())...).CombinedOutput()
	return string(out), err
}

// reply is the answer to a publisher.
type reply struct {
	Seq   uint64
	Error *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	}
}

// requestOne publishes an event and returns the answer.
func requestOne(ctx context.Context, nc *nats.Conn, subject, payload string) (a reply, err error) {
	m, err := nc.RequestWithContext(ctx, subject, []byte(payload))
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(m.Data, &a)
}

// accepted publishes an event, which must be accepted at once.
func (o *operator) accepted(subject, payload string) uint64 {
	o.t.Helper()
	a, err := requestOne(o.within(), o.nc, subject, payload)
	if err != nil || a.Error != nil {
		o.t.Fatalf("%s %s: %+v, %v", subject, payload, a.Error, err)
	}
	return a.Seq
}

// ints waits until an app has published n results, and returns an attribute of each, by partition
// and then in order.
func (o *operator) ints(app, attribute string, partitions, n int) (all []int64) {
	o.t.Helper()
	eventually(o.t, fmt.Sprintf("app %s has %d results", app, n), func() bool {
		all = nil
		for p := range uint32(partitions) {
			stream, err := o.js.Stream(o.within(), natsconn.OutStream(app, p))
			must(o.t, err)
			consumer, err := stream.OrderedConsumer(o.within(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubjects(app, p)}})
			must(o.t, err)
			left := consumer.CachedInfo().NumPending
			for left > 0 {
				batch, err := consumer.Fetch(int(min(left, 5000)), jetstream.FetchMaxWait(patience))
				must(o.t, err)
				got := uint64(0)
				for m := range batch.Messages() {
					var row map[string]any
					must(o.t, json.Unmarshal(m.Data(), &row))
					all = append(all, int64(row[attribute].(float64)))
					got++
				}
				must(o.t, batch.Error())
				left -= got
			}
		}
		return len(all) >= n
	})
	return all
}

// counting returns an app that numbers the events of each key.
func counting(name string, partitions int, stream string) string {
	return fmt.Sprintf(`@app:name('%s') @app:partitions('%d') define stream %s (k int);
		partition with (k of %[3]s) begin from %[3]s select k, count() as n insert into Out; end;`, name, partitions, stream)
}
