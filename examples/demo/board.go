package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux"
)

// airport is a row of AirportDelays, and late and busy are rows of the other two streams.
type (
	airport struct {
		Origin     string  `json:"origin"`
		Flights    int64   `json:"flights"`
		MeanDelay  float64 `json:"meanDelay"`
		WorstDelay int64   `json:"worstDelay"`
	}
	late struct {
		Origin     string  `json:"origin"`
		MeanDelay  float64 `json:"meanDelay"`
		WorstDelay int64   `json:"worstDelay"`
	}
	busy struct {
		Origin     string  `json:"origin"`
		Departures int64   `json:"departures"`
		MeanDelay  float64 `json:"meanDelay"`
	}
)

// board is what the results say. The zero value is empty.
type board struct {
	mu       sync.Mutex
	airports map[string]airport
	seen     map[string]bool // positions of results of AirportDelays
	twice    int
	last     time.Time   // of the newest flight
	times    []time.Time // of all flights
	busiest  []busy
	lates    []string
}

// shown are the airports of the table: the busiest ones of the country then.
var shown = []string{"ATL", "DFW", "ORD", "LAX", "PHX", "STL", "DTW", "MSP"}

func (b *board) airport(r *eventflux.Result[airport]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.airports == nil {
		b.airports, b.seen = map[string]airport{}, map[string]bool{}
	}
	if b.seen[r.Position] {
		b.twice++
	}
	b.seen[r.Position] = true
	b.airports[r.Value.Origin] = r.Value
	b.last = r.Time.UTC()
	b.times = append(b.times, b.last)
}

func (b *board) late(r *eventflux.Result[late]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf("%s %.0f min", r.Value.Origin, r.Value.MeanDelay)
	b.lates = slices.DeleteFunc(b.lates, func(t string) bool { return strings.HasPrefix(t, r.Value.Origin) })
	b.lates = append([]string{text}, b.lates...)
	b.lates = b.lates[:min(len(b.lates), 3)]
}

func (b *board) busy(r *eventflux.Result[busy]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.busiest) == 3 { // each day has three
		b.busiest = nil
	}
	b.busiest = append(b.busiest, r.Value)
}

func (b *board) results() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.times)
}

func (b *board) counts() (different, twice int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen), b.twice
}

// middle is the time of the flight in the middle.
func (b *board) middle() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.times[len(b.times)/2]
}

// lines is the board as a person sees it, in less than 80 columns.
func (b *board) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	clock := "no flight yet"
	if !b.last.IsZero() {
		clock = b.last.Format("Mon, 2 Jan 2006")
	}
	list := []string{
		fmt.Sprintf("  %-24s %8s results", clock, thousands(len(b.times))), "",
		fmt.Sprintf("  %-8s %8s %12s %13s", "airport", "flights", "mean delay", "worst delay"),
	}
	for _, name := range shown {
		a, ok := b.airports[name]
		if !ok {
			list = append(list, fmt.Sprintf("  %-8s %8s %12s %13s", name, "-", "-", "-"))
			continue
		}
		list = append(list, fmt.Sprintf("  %-8s %8d %8.1f min %9d min", name, a.Flights, a.MeanDelay, a.WorstDelay))
	}
	busiest := make([]string, len(b.busiest))
	for i, x := range b.busiest {
		busiest[i] = fmt.Sprintf("%s %d", x.Origin, x.Departures)
	}
	return append(list, "", "  busiest yesterday   "+orDash(busiest), "  recently late       "+orDash(b.lates), "")
}

func orDash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

// thousands writes a number as people do: 20,000.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// watching is a subscription to all results.
type watching struct {
	nc     *nats.Conn
	client *eventflux.Client
	cancel context.CancelFunc
	work   sync.WaitGroup
	once   sync.Once
	ended  chan struct{} // closed when one of the subscriptions failed
	err    error         // then
}

// watch reads all results from the first one on. It goes on when the server comes back.
func (b *board) watch(ctx context.Context, server string) (*watching, error) {
	nc, err := nats.Connect(server, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	w := &watching{nc: nc, client: eventflux.Connect(nc), ended: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	for _, start := range []func(context.Context, *watching) error{
		follow("AirportDelays", b.airport), follow("LateAirports", b.late), follow("BusiestAirports", b.busy),
	} {
		if err := start(ctx, w); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func follow[T any](stream string, show func(*eventflux.Result[T])) func(context.Context, *watching) error {
	return func(ctx context.Context, w *watching) error {
		results, err := eventflux.Subscribe[T](ctx, w.client, "Flights", stream, eventflux.FromStart())
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", stream, err)
		}
		w.work.Go(func() {
			defer results.Close()
			for r, err := range results.All(ctx) {
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					w.once.Do(func() {
						w.err = fmt.Errorf("results of %s: %w", stream, err)
						close(w.ended)
					})
					return
				}
				show(r)
			}
		})
		return nil
	}
}

func (w *watching) close() {
	w.cancel()
	w.work.Wait()
	w.nc.Close()
}
