// Command postgres copies results of an app to Postgres, each once. It needs nats.go and pgx alone:
// results are messages of the JetStream stream EFO_<app>_<p>.
//
//	postgres --stream EFO_shop_0 --subject out.shop.Totals.0 --to postgres://localhost/shop
//
// One transaction writes the row and the sequence of its message, so the database itself says where
// to continue.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const tables = `
create table if not exists totals (shop text primary key, total double precision not null, results bigint not null);
create table if not exists bridge (stream text primary key, sequence bigint not null);`

const position = `
insert into bridge (stream, sequence) values ($1, $2)
  on conflict (stream) do update set sequence = excluded.sequence where bridge.sequence < excluded.sequence`

// results counts the results of each shop: twice the same one would show.
const row = `
insert into totals (shop, total, results) values ($1, $2, 1)
  on conflict (shop) do update set total = excluded.total, results = totals.results + 1`

func main() {
	var b bridge
	url := flag.String("nats", nats.DefaultURL, "NATS server")
	flag.StringVar(&b.stream, "stream", "", "the app's output stream, EFO_<app>_<p>")
	flag.StringVar(&b.subject, "subject", "", "subject of the results, such as out.<app>.<Stream>.<p>")
	to := flag.String("to", "", "URL of the database")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nc, err := nats.Connect(*url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	if b.js, err = jetstream.New(nc); err == nil {
		err = b.copy(ctx, *to)
	}
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// bridge copies the results on a subject of an output stream.
type bridge struct {
	js              jetstream.JetStream
	stream, subject string
}

func (b *bridge) copy(ctx context.Context, url string) error {
	if b.stream == "" || b.subject == "" || url == "" {
		return errors.New("--stream, --subject and --to are required")
	}
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	if _, err := db.Exec(ctx, tables); err != nil {
		return err
	}
	var last uint64
	err = db.QueryRow(ctx, "select sequence from bridge where stream = $1", b.stream).Scan(&last)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	consumer, err := b.js.OrderedConsumer(ctx, b.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{b.subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last + 1,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := b.write(ctx, db, m); err != nil {
			return fmt.Errorf("result %s: %w", m.Headers().Get("Ef-Position"), err)
		}
	}
}

// write writes a result unless the database has it, or a later one.
func (b *bridge) write(ctx context.Context, db *pgx.Conn, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	var total struct {
		Shop  string
		Total float64
	}
	if err := json.Unmarshal(m.Data(), &total); err != nil {
		return err
	}
	tx, err := db.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // nothing after the commit
	changed, err := tx.Exec(ctx, position, b.stream, int64(meta.Sequence.Stream))
	if err != nil || changed.RowsAffected() == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, row, total.Shop, total.Total); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
