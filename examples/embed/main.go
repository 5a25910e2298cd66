// Command embed is a Go program with EventFlux inside: it watches the temperatures of
// machines, and tells of each one that gets too hot once. Its memory survives the program:
// start it again with the same folder, and the averages continue.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/eventflux/eventflux"
)

//go:embed heat.siddhi
var app string

// Reading and Alert are rows of the app's streams.
type (
	Reading struct {
		Machine string  `json:"machine"`
		Celsius float64 `json:"celsius"`
	}
	Alert struct {
		Machine string  `json:"machine"`
		Mean    float64 `json:"mean"`
	}
)

func main() {
	data := flag.String("data", "data", "folder of the log and the checkpoints")
	flag.Parse()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := run(ctx, *data, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run publishes readings of two machines, and writes the first alert.
func run(ctx context.Context, data string, out io.Writer) (err error) {
	node, err := eventflux.Open(ctx, eventflux.Options{
		Data: data, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if _, err := node.Deploy(ctx, app); err != nil {
		return err
	}
	readings, err := eventflux.NewPublisher[Reading](ctx, node.Client, "Heat", "Readings")
	if err != nil {
		return err
	}
	alerts, err := eventflux.Subscribe[Alert](ctx, node.Client, "Heat", "Alerts")
	if err != nil {
		return err
	}
	defer alerts.Close()
	for i := range 5 {
		batch := []Reading{{"press", 60 + 10*float64(i)}, {"saw", 40}}
		if _, err := readings.PublishAll(ctx, batch); err != nil {
			return err
		}
	}
	alert, err := alerts.Next(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s is too hot: %.0f degrees on average\n", alert.Value.Machine, alert.Value.Mean)
	return err
}
