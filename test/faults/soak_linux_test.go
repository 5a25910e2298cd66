package faults

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// TestCluster puts a whole cluster under load through random troubles. Afterwards the output
// streams hold what one process computes from the same events, and every committed checkpoint is
// sound. The long form, make fault-test, takes ten minutes.
func TestCluster(t *testing.T) {
	rnd := random(t)
	f := newFleet(t, "--checkpoint.interval=1s", "--checkpoint.timeout=10s", "--checkpoint.full_every=5",
		"--retention.span=100h", "--merger.chain_max=3")
	var elections spread
	want := f.load(rnd, func(trade *feed) { elections = f.suffer(rnd, trade) })
	f.awaitAll(want)
	f.say("all %d results are there, once and in order; %d checkpoints are sound", want.count(), f.verifyAll())
	stopped, results, prepared := f.refused()
	t.Logf("%d tasks ended because another one had taken their partition over: %d were refused results, %d their part of a checkpoint", stopped, results, prepared)
	t.Logf("longest wait for an acknowledgement when the server that leads the log is killed: %s", elections)
}

// load deploys apps and publishes to them while a function runs. It returns the results that the
// output streams must hold then.
func (f *fleet) load(rnd *rand.Rand, while func(trade *feed)) results {
	f.t.Helper()
	f.deployAll(map[string]int{"Shapes": 1, "Clock": 1, "Spread": 3, "Loads": loadPartitions})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	const every = 10 * time.Millisecond
	messages := trades(rnd, int((*during+10*time.Minute)/every))
	trade := &feed{url: f.url, every: every, make: func(i int) *nats.Msg { return messages[i].msg("") }}
	all := []*feed{trade}
	for i := range loaders {
		all = append(all, &feed{url: f.url, every: 4 * every, make: func(n int) *nats.Msg { return loadMessage(i, n) }})
	}
	ended := make(chan error, len(all))
	for _, one := range all {
		go func() { ended <- one.run(ctx) }()
	}
	f.await("events are accepted", func() bool { n, _ := trade.count(); return n > 0 })
	f.say("events are accepted")
	while(trade)
	stop()
	for range all {
		must(f.t, <-ended)
	}
	n, again := trade.count()
	f.say("all is published: %d messages in order, %d times again: %s", n, again, trade.reasons())

	want := offline(f.t, messages[:n])
	var lines strings.Builder
	for i, one := range all[1:] {
		count, _ := one.count()
		for m := range count {
			lines.WriteString(loadLines(i, m))
		}
	}
	replaySpread(f.t, "Loads", loadPartitions, lines.String(), want)
	return byKey(want)
}

// suffer injects one trouble after the other; each kind comes once before any repeats. It returns
// how long the feed waited in elections.
func (f *fleet) suffer(rnd *rand.Rand, trade *feed) (elections spread) {
	f.t.Helper()
	// These give others time to take over, and exceed the longest timeout of the processes that
	// talk to the missing one.
	hold, longer, between := 2*time.Second, 12*time.Second, 5*time.Second
	if *during < time.Minute {
		hold, longer, between = 1*time.Second, 3*time.Second, time.Second
	}
	upTo := func(most time.Duration) time.Duration { return most/2 + time.Duration(rnd.Int64N(int64(most/2))) }
	var deck []string
	for over := time.Now().Add(*during); time.Now().Before(over); {
		if len(deck) == 0 {
			deck = slices.Sorted(maps.Keys(kinds))
			rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		kind := deck[0]
		deck = deck[1:]
		one := kinds[kind](f, rnd)
		if one == nil {
			f.say("not possible now: %s", kind)
			continue
		}
		lasts := upTo(hold)
		if one.longer {
			lasts = upTo(longer)
		}
		before := trade.longest()
		f.say("%s for %s (before: %s without an acknowledgement)", one.what, lasts.Round(time.Millisecond), before.Round(time.Millisecond))
		one.begin()
		for began := time.Now(); time.Since(began) < lasts; {
			if one.during != nil {
				one.during()
				continue
			}
			f.pass(min(100*time.Millisecond, lasts))
		}
		one.end()
		f.tend()
		f.pass(upTo(between))
		if kind == "kill a NATS server" {
			f.await("events are accepted", func() bool { return trade.idle() < time.Second })
			elections = append(elections, trade.longest())
		}
	}
	return elections
}

// idle returns the time since the last acknowledgement.
func (f *feed) idle() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.last)
}

// awaitAll waits for the wanted number of results, and compares them.
func (f *fleet) awaitAll(want results) {
	f.t.Helper()
	var got results
	last, since := uint64(0), time.Now()
	f.await("all results are there", func() bool {
		if n := f.outputs(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < time.Second {
			return false // more may come
		}
		since = time.Now()
		got = results{}
		for name, partitions := range f.apps {
			for p := range partitions {
				readStream(f.within(2*time.Minute), f.t, f.js, natsconn.OutStream(name, uint32(p)), got)
			}
		}
		f.say("%d of %d results are there", got.count(), want.count())
		return got.count() >= want.count()
	})
	checkSame(f.t, byKey(got), want)
}

const (
	loadPartitions = 4
	loaders        = 4 // number of publishers
	loadKeys       = 5 // keys of each publisher
	loadEvents     = 20
)

// loadRows returns the events of message n of a publisher: several for each of its keys.
func loadRows(loader, n int) []string {
	rows := make([]string, loadEvents)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"id":%d,"key":"L%d.%d","price":%d.25}`, n*loadEvents+i, loader, i%loadKeys, (n*7+i)%100)
	}
	return rows
}

func loadMessage(loader, n int) *nats.Msg {
	return &nats.Msg{
		Subject: "events.Ticks", Header: nats.Header{nats.MsgIdHdr: {"l" + strconv.Itoa(loader) + "-" + strconv.Itoa(n)}},
		Data: []byte("[" + strings.Join(loadRows(loader, n), ",") + "]"),
	}
}

func loadLines(loader, n int) string {
	var b strings.Builder
	for _, row := range loadRows(loader, n) {
		fmt.Fprintf(&b, `{"stream":"Ticks","ts":1,"data":%s}`+"\n", row)
	}
	return b.String()
}

// byKey groups the results of Loads by key: there is no order between keys.
func byKey(all results) results {
	apart := results{}
	for subject, rows := range all {
		if !strings.HasPrefix(subject, "out.Loads.") {
			apart[subject] = rows
			continue
		}
		for _, r := range rows {
			key := subject + " " + strings.Split(r.data, ",")[1]
			r.ts = 0 // the time of arrival
			apart[key] = append(apart[key], r)
		}
	}
	return apart
}
