// Command demo shows what EventFlux does, in a minute: it runs the app of flights.siddhi on
// real flights, kills the process in the middle, starts it again, counts the results, and
// looks up state of an earlier instant. `make run` starts it. Everything it does, it does with
// the commands that it prints; the table comes from a subscription of the Go library.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var d demo
	flag.StringVar(&d.program, "program", "bin/eventflux", "the program")
	flag.IntVar(&d.flights, "flights", 20_000, "how many flights are published")
	flag.IntVar(&d.rate, "rate", 500, "flights per second")
	flag.BoolVar(&d.end, "end", false, "end after the last step, and do not wait for Ctrl-C")
	flag.Parse()
	// SIGHUP: a closed terminal must not leave the server behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	d.screen = newScreen(os.Stdout)
	err := d.run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	program string
	flights int
	rate    int
	end     bool
	screen  *screen

	server  string // URL of its NATS server
	scratch string // folder of the app's data
	process *process
	board   board
}

const (
	appFile = "examples/flights.siddhi"
	data    = "examples/data/flights.ndjson"
)

func (d *demo) run(ctx context.Context) (err error) {
	if d.scratch, err = os.MkdirTemp("", "eventflux-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.scratch)
	d.server = "nats://" + listen()
	d.screen.say("EventFlux runs one app on %s real US flights of 2001. Its three queries:", thousands(d.flights))
	d.screen.say("")
	d.screen.say("  airport   mean and worst delay of the last 50 flights of each airport")
	d.screen.say("  late      airports with a mean delay above 30 minutes")
	d.screen.say("  busiest   the three busiest airports of each day")
	d.screen.say("")
	if err := d.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.process.stop()) }()
	d.screen.say("Process %d: the app, all services, and a NATS server at %s.", d.process.pid(), d.server)
	watching, err := d.board.watch(ctx, d.server)
	if err != nil {
		return err
	}
	defer watching.close()

	publish, err := d.publish(ctx)
	if err != nil {
		return err
	}
	defer publish.stop()
	if err := d.until(ctx, watching, d.flights/3); err != nil {
		return err
	}
	epoch, err := watching.client.Checkpoint(ctx, "Flights")
	if err != nil {
		return err
	}
	if err := d.until(ctx, watching, d.flights/2); err != nil {
		return err
	}
	if err := d.kill(ctx, watching, epoch); err != nil {
		return err
	}
	if err := d.until(ctx, watching, d.flights); err != nil {
		return err
	}
	d.screen.settle(d.board.lines())
	accepted, err := publish.accepted()
	if err != nil {
		return err
	}
	if err := d.count(accepted); err != nil {
		return err
	}
	if err := d.lookUp(ctx); err != nil {
		return err
	}
	return d.close(ctx)
}

// until draws the board until so many results are there.
func (d *demo) until(ctx context.Context, w *watching, results int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for d.board.results() < results {
		select {
		case <-tick.C:
			d.screen.draw(d.board.lines())
		case <-d.process.ended:
			return d.process.failure()
		case <-w.ended:
			return w.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// kill ends the process as a crash does, and starts another one.
func (d *demo) kill(ctx context.Context, w *watching, epoch uint64) error {
	d.screen.settle(d.board.lines())
	before := d.process.pid()
	d.process.kill()
	seen := d.board.results()
	d.screen.say("$ kill -9 %d", before)
	killed := time.Now()
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.until(ctx, w, min(seen+1, d.flights)); err != nil { // there is none after the last flight
		return err
	}
	d.screen.say("Process %d loaded checkpoint %d, read the log after it, and went on.", d.process.pid(), epoch)
	d.screen.say("The next result came %.1f s after the kill.", time.Since(killed).Seconds())
	d.screen.say("")
	return nil
}

// count says whether each flight has its one result.
func (d *demo) count(accepted int) error {
	different, twice := d.board.counts()
	if different != accepted || twice > 0 {
		return fmt.Errorf("%d flights were acknowledged, and AirportDelays has %d results and %d of them twice; please report it", accepted, different, twice)
	}
	d.screen.say("%s flights were acknowledged, and AirportDelays has %s results:", thousands(accepted), thousands(different))
	d.screen.say("none is missing, and none is there twice.")
	d.screen.say("")
	return nil
}

// lookUp shows state as it was in the middle of the flights.
func (d *demo) lookUp(ctx context.Context) error {
	d.screen.say("State can be looked up as of any instant. Atlanta, halfway through the flights:")
	d.screen.say("")
	if err := d.command(ctx, "state", "get", "airport/aggregate", "Flights", "--key", "ATL", "--at", d.board.middle().Format(time.RFC3339)); err != nil {
		return err
	}
	d.screen.say("")
	return nil
}

// close names what to do next, and leaves the app running until ctx ends.
func (d *demo) close(ctx context.Context) error {
	if d.end {
		return nil
	}
	server := d.serverFlag()
	d.screen.say("The app is still running. In another terminal:")
	d.screen.say("")
	d.screen.say("  bin/eventflux subscribe 'out.Flights.>'%s", server)
	d.screen.say("  tail -5 %s | bin/eventflux publish Flights - --ts time%s", data, server)
	d.screen.say("  bin/eventflux app show Flights%s", server)
	d.screen.say("  bin/eventflux checkpoint ls%s", server)
	d.screen.say("  bin/eventflux doctor%s", server)
	d.screen.say("")
	d.screen.say("README.md has your first own app in five minutes. Ctrl-C ends this one.")
	select {
	case <-d.process.ended:
		return d.process.failure()
	case <-ctx.Done():
		return nil
	}
}
