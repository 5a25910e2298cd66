package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// flightsStream defines the stream of the real flights in all apps.
const flightsStream = "define stream Flights (time long, origin string, destination string, delay int, distance int);\n"

const delayColumn = 3

// flights are the real flights of the examples, one line of JSON each.
type flights struct {
	lines  [][]byte
	schema *event.Schema
}

func loadFlights(root string) (*flights, error) {
	data, err := os.ReadFile(filepath.Join(root, "examples", "data", "flights.ndjson"))
	if err != nil {
		return nil, err
	}
	plan, err := siddhiql.Compile(flightsStream + "from Flights select origin insert into Out;")
	if err != nil {
		return nil, err
	}
	f := &flights{lines: bytes.Split(bytes.TrimSpace(data), []byte("\n")), schema: plan.Stream("Flights").Schema}
	if len(f.lines) < 1000 {
		return nil, fmt.Errorf("%d flights are too few", len(f.lines))
	}
	return f, nil
}

// messages returns all flights as messages of n events each.
func (f *flights) messages(n int) [][]byte {
	var all [][]byte
	for i := 0; i+n <= len(f.lines); i += n {
		all = append(all, bytes.Join(f.lines[i:i+n], []byte("\n")))
	}
	return all
}

// batches returns all flights as decoded batches of n rows each.
func (f *flights) batches(n int) []*event.Batch {
	decoder := rowjson.NewDecoder(f.schema)
	var all []*event.Batch
	for _, m := range f.messages(n) {
		b := event.NewBatch(f.schema)
		if rows, refused := decoder.Rows(b, m, 0); rows != n || refused != nil {
			panic(fmt.Sprintf("flights: %d of %d accepted, refused: %v", rows, n, refused))
		}
		all = append(all, b)
	}
	return all
}
