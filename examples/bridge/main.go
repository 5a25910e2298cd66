// Command bridge copies results of an app to a file or to an HTTP server, each once. It needs
// nats.go alone: results are messages of the JetStream stream EFO_<app>_<p>.
//
//	bridge --stream EFO_shop_0 --subject out.shop.Totals.0 --to totals.ndjson
//	bridge --stream EFO_shop_0 --subject out.shop.Totals.0 --to https://example.com/totals
//
// The generation and the position of a result (headers Ef-Generation and Ef-Position) never belong to two
// results. A file has them in each line, so the file itself says where to continue. An HTTP server
// gets them as Idempotency-Key, and must ignore a request whose key it has handled.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	b := bridge{ackWait: 30 * time.Second}
	url := flag.String("nats", nats.DefaultURL, "NATS server")
	creds := flag.String("creds", "", "file with credentials of a user")
	flag.StringVar(&b.stream, "stream", "", "the app's output stream, EFO_<app>_<p>")
	flag.StringVar(&b.subject, "subject", "", "subject of the results, such as out.<app>.<Stream>.<p>")
	to := flag.String("to", "", "a file, or a URL that starts with http")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var options []nats.Option
	if *creds != "" {
		options = append(options, nats.UserCredentials(*creds))
	}
	nc, err := nats.Connect(*url, options...)
	if err == nil {
		defer nc.Close()
		if b.js, err = jetstream.New(nc); err == nil {
			err = b.copy(ctx, *to)
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// bridge copies the results on a subject of an output stream.
type bridge struct {
	js              jetstream.JetStream
	stream, subject string
	ackWait         time.Duration // until a result comes again whose request a crash has ended
}

func (b *bridge) copy(ctx context.Context, to string) error {
	switch {
	case b.stream == "" || b.subject == "" || to == "":
		return fmt.Errorf("--stream, --subject and --to are required")
	case strings.HasPrefix(to, "http"):
		return b.toHTTP(ctx, to)
	}
	return b.toFile(ctx, to)
}

// place identifies a result forever, together with its output stream.
func place(h nats.Header) string { return h.Get("Ef-Generation") + ":" + h.Get("Ef-Position") }
