package ingest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// originApp reads a JetStream stream; settings are more settings of @source.
func originApp(settings string) string {
	return `@app:name('next') @source(stream='ORDERS'` + settings + `) define stream In (n int); from In select n insert into Out;`
}

// orders makes the JetStream stream that originApp reads.
func (r *rig) orders(change ...func(*jetstream.StreamConfig)) jetstream.Stream {
	r.t.Helper()
	cfg := jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}
	for _, c := range change {
		c(&cfg)
	}
	s, err := r.js.CreateStream(within(r.t), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// order publishes to ORDERS. headers are names and values in turns.
func (r *rig) order(subject, payload string, headers ...string) {
	r.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(payload)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if _, err := r.js.PublishMsg(within(r.t), m); err != nil {
		r.t.Fatal(err)
	}
}

// orderNumbers publishes the numbers from a to b.
func (r *rig) orderNumbers(a, b int) {
	r.t.Helper()
	for n := a; n <= b; n++ {
		r.order("orders.x", fmt.Sprintf(`{"n":%d}`, n))
	}
}

// readTo returns once the message at the sequence is known to be in the logs.
func (r *rig) readTo(seq uint64) {
	r.t.Helper()
	ctx := within(r.t)
	for {
		entry, err := r.links().Get(ctx, natsconn.LinkKey("next", "In", "$JS.ORDERS"))
		if err == nil {
			got, err := parseRecord(entry.Value())
			if err != nil {
				r.t.Fatal(err)
			}
			if got.Positions[0].Sequence == seq {
				return
			}
		}
		if ctx.Err() != nil {
			r.t.Fatalf("message %d was not read: %+v", seq, r.svc.Info().Streams)
		}
	}
}

// orderSeqs has the sequences of the messages that the log has, in its order.
func (r *rig) orderSeqs() (seqs []string) {
	r.t.Helper()
	for _, line := range r.logged("next", 0) {
		_, id, _ := strings.Cut(line, "id=$JS.ORDERS:")
		_, id, _ = strings.Cut(id, ":")
		seq, _, _ := strings.Cut(id, ".")
		seqs = append(seqs, seq)
	}
	return seqs
}

// origin waits until ok accepts the service's information about the stream, and returns it.
func (r *rig) origin(ok func(*InfoResults) bool) InfoResults {
	r.t.Helper()
	for ctx := within(r.t); ; {
		all := r.svc.Info().Streams[0].Results
		if len(all) > 0 && ok(&all[0]) {
			return all[0]
		}
		if err := r.pub.FlushWithContext(ctx); err != nil { // a moment
			r.t.Fatalf("%+v: %v", r.svc.Info().Streams, err)
		}
	}
}

func waits(reason string) func(*InfoResults) bool {
	return func(i *InfoResults) bool { return i.State == "waiting" && strings.Contains(i.Reason, reason) }
}

func now(c *Config) { c.Now = func() int64 { return time.Now().UnixMilli() } }

// The stream may be created later. Its messages are events, with their own time or the time
// when they were stored. A message that is not an event becomes a dead letter.
func TestMessagesOfAStream(t *testing.T) {
	r := start(t, nil, originApp(`, subject='orders.*.new'`))
	r.origin(waits("JetStream stream ORDERS"))
	r.orders()
	old := fmt.Sprint(arrival - 1000)
	r.order("orders.a.new", `{"n":1}`, "Ef-Timestamp", old, "traceparent", "00-ab-cd-01", "Nats-Msg-Id", "own", "Nats-Expected-Stream", "ORDERS")
	r.order("orders.a.paid", `{"n":2}`)
	r.order("orders.b.new", "{\"n\":3}\n{\"n\":4}", "Ef-Timestamp", old, "Ef-Chunk", "1")
	r.order("orders.b.new", `{"n":"five"}`)
	r.order("orders.b.new", `{"n":6}`, "Ef-Timestamp", "never")
	r.order("orders.b.new", `{"n":7}`) // stored after the test's clock: as of its arrival
	r.readTo(6)
	info := r.origin(func(i *InfoResults) bool { return i.State == "reading" })
	if info.JetStream != "ORDERS" || info.Lag != 0 || info.Skipped != 0 {
		t.Errorf("%+v", info)
	}
	if clamped := r.svc.Info().Streams[0].Clamped; clamped != 0 {
		t.Errorf("%d events had a time after their arrival", clamped)
	}
	r.end()
	var lines []string
	for _, line := range r.logged("next", 0) {
		before, id, _ := strings.Cut(line, "id=$JS.ORDERS:")
		_, id, _ = strings.Cut(id, ":")
		lines = append(lines, before+id)
	}
	equal(t, "log", lines, []string{
		`In +0 1.0 header="traceparent: 00-ab-cd-01\r\n" [1]@` + old,
		`In +0 chunk 3.0 [3]@` + old + ` [4]@` + old,
		`In +0 6.0 [7]`,
	})
	dead := r.dead("next")
	if len(dead) != 2 || !strings.Contains(dead[0], "Ef-Subject=orders.b.new") || !strings.Contains(dead[1], "never") {
		t.Errorf("dead letters:\n%s", strings.Join(dead, "\n"))
	}
}

// Reading starts at the first message, after the deploy, at a sequence, which may be after the
// end, or at a time, which may be in the future.
func TestWhereReadingStarts(t *testing.T) {
	for _, c := range []struct {
		from string
		want []int
	}{
		{"", []int{1, 2, 3, 4, 5, 6}},
		{"all", []int{1, 2, 3, 4, 5, 6}},
		{"new", []int{4, 5, 6}},
		{"seq:3", []int{3, 4, 5, 6}},
		{"seq:6", []int{6}},
		{"2001-01-01", []int{1, 2, 3, 4, 5, 6}},
		{"2999-01-01", nil},
	} {
		t.Run(c.from, func(t *testing.T) {
			settings := ""
			if c.from != "" {
				settings = `, from='` + c.from + `'`
			}
			r := start(t, now)
			r.orders()
			r.orderNumbers(1, 3)
			r.svc.Serve(r.deploy(originApp(settings)))
			r.origin(func(i *InfoResults) bool { return i.State == "reading" })
			r.orderNumbers(4, 6)
			if c.want != nil {
				r.readTo(6)
			}
			r.end()
			if got := r.numbers("next", 0)["$JS.ORDERS"]; !slices.Equal(got, c.want) {
				t.Errorf("read %v, want %v", got, c.want)
			}
		})
	}
}

// Ingest stops at any moment, its record is lost or old, and messages that were read are
// purged. Each message is in the log once, in order.
func TestEveryMessageOnceWhateverStops(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := start(t, now, originApp(""))
	s := r.orders()
	n := 0
	for round := range 10 {
		stopAt := random.IntN(100)
		for i := range 100 {
			n++
			r.orderNumbers(n, n)
			if i != stopAt {
				continue
			}
			r.end()
			if round%3 == 1 {
				if err := r.links().Delete(within(t), natsconn.LinkKey("next", "In", "$JS.ORDERS")); err != nil {
					t.Fatal(err)
				}
			}
			r.begin(now, originApp(""))
		}
		if round == 5 {
			r.readTo(uint64(n))
			if err := s.Purge(within(t), jetstream.WithPurgeSequence(uint64(n)-10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.readTo(uint64(n))
	if info := r.origin(func(i *InfoResults) bool { return i.State == "reading" }); info.Skipped != 0 {
		t.Errorf("%+v", info)
	}
	r.end()
	want := make([]int, n)
	for i := range want {
		want[i] = i + 1
	}
	if got := r.numbers("next", 0)["$JS.ORDERS"]; !slices.Equal(got, want) {
		t.Errorf("%d of %d messages: %v", len(got), n, got)
	}
}

// Messages that were removed before they were read are counted, and reading continues.
func TestRemovedMessagesAreNamed(t *testing.T) {
	r := start(t, now, originApp(""))
	s := r.orders()
	r.orderNumbers(1, 4)
	r.readTo(4)
	r.end()
	r.orderNumbers(5, 9)
	if err := s.Purge(within(t), jetstream.WithPurgeSequence(7)); err != nil { // 5 and 6
		t.Fatal(err)
	}
	if err := s.DeleteMsg(within(t), 8); err != nil {
		t.Fatal(err)
	}
	r.begin(now, originApp(""))
	r.readTo(9)
	if info := r.origin(func(i *InfoResults) bool { return i.State == "reading" }); info.Skipped != 3 || info.Recreated != 0 {
		t.Errorf("%+v", info)
	}
	r.end()
	equal(t, "sequences", r.orderSeqs(), []string{"1", "2", "3", "4", "7", "9"})
}

// A stream that was deleted and created again is a new stream, although its sequences start at
// 1 again.
func TestRecreatedStreamIsReadFromItsStart(t *testing.T) {
	r := start(t, now, originApp(", from='seq:3'"))
	r.origin(func(i *InfoResults) bool { return strings.HasPrefix(i.Reason, "there is no JetStream stream ORDERS; ") })
	r.orders()
	r.orderNumbers(1, 4)
	r.readTo(4)
	if err := r.js.DeleteStream(within(t), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	r.orders()
	r.orderNumbers(5, 7)
	r.readTo(3)
	r.origin(func(i *InfoResults) bool { return i.Recreated == 1 })
	r.end()
	equal(t, "sequences", r.orderSeqs(), []string{"3", "4", "1", "2", "3"})
}

// A stream that has lost its end reuses sequences. Its new messages would look like messages
// that were read, so none is accepted, and the info has the reason.
func TestStreamThatLostItsEnd(t *testing.T) {
	r := start(t, now, originApp(""))
	r.orders()
	r.orderNumbers(1, 4)
	r.readTo(4)
	r.end()
	entry, err := r.links().Get(within(t), natsconn.LinkKey("next", "In", "$JS.ORDERS"))
	if err != nil {
		t.Fatal(err)
	}
	was, err := parseRecord(entry.Value())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*position)
		want   string
	}{
		{func(p *position) { p.Sequence = 6 }, "ends at message 4, but message 6 was read"},
		{func(p *position) { p.Place = "17" }, "message 4 of JetStream stream ORDERS is another one"},
		{func(p *position) { p.Created = p.Created.Add(time.Hour) }, "restored from an older copy"},
	} {
		at := was.Positions[0]
		c.change(&at)
		changed := was
		changed.Positions = map[uint32]position{0: at}
		value, err := changed.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.links().Put(within(t), entry.Key(), value); err != nil {
			t.Fatal(err)
		}
		r.begin(now, originApp(""))
		r.origin(waits(c.want))
		r.end()
	}
	equal(t, "sequences", r.orderSeqs(), []string{"1", "2", "3", "4"})
}

// Streams that delete messages when consumers acknowledge them are refused.
func TestStreamsThatCannotBeReadOnceEach(t *testing.T) {
	for policy, want := range map[jetstream.RetentionPolicy]string{jetstream.WorkQueuePolicy: "work-queue retention", jetstream.InterestPolicy: "interest retention"} {
		r := start(t, now, originApp(""))
		r.orders(func(c *jetstream.StreamConfig) { c.Retention = policy })
		r.origin(waits(want))
		r.end()
	}
}

// A source that an upgrade adds takes messages from the upgrade on, if it asks for new ones.
func TestNewMessagesForAnUpgradedApp(t *testing.T) {
	r := start(t, now, `@app:name('next') define stream X (n int); from X select n insert into Out;`)
	r.orders()
	r.orderNumbers(1, 3)
	r.svc.Serve([]App{{Name: "next", Index: r.index, Version: 2, Plan: plans(t, originApp(", from='new'"))[0]}})
	r.orderNumbers(4, 5)
	r.readTo(5)
	r.end()
	equal(t, "sequences", r.orderSeqs(), []string{"4", "5"})
}
