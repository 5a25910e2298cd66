package main

import "context"

// runJSON measures how fast events become columns, in one goroutine.
func runJSON(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/lang/event/rowjson", "^BenchmarkDecode(Flights|FlightsLibrary|OneFlight|EncodingJSON)$")
	if err != nil {
		return nil, err
	}
	const message = 512
	rows, err := all.fill([]benchRow{
		{bench: "BenchmarkDecodeFlights", allocsOf: message, row: row{what: "512 events per message", goal: 2e6}},
		{bench: "BenchmarkDecodeOneFlight", allocsOf: 1, row: row{what: "one event per message", goal: 2e6}},
		{bench: "BenchmarkDecodeFlightsLibrary", allocsOf: message, row: row{what: "peer: go-faster/jx alone, as unusual rows are read"}},
		{bench: "BenchmarkDecodeEncodingJSON", allocsOf: message, row: row{what: "peer: encoding/json into a struct"}},
	})
	if err != nil {
		return nil, err
	}
	mapped, err := b.gobench(ctx, "./services/ingest", "^BenchmarkMapped$")
	if err != nil {
		return nil, err
	}
	forms, err := mapped.fill([]benchRow{
		{bench: "BenchmarkMapped/Plain", allocsOf: 1, row: row{what: "plain JSON"}},
		{bench: "BenchmarkMapped/Mapped", allocsOf: 1, row: row{what: "JSON with paths (`@map`)"}},
		{bench: "BenchmarkMapped/Proto", allocsOf: 1, row: row{what: "Protocol Buffers"}},
		{bench: "BenchmarkMapped/Avro", allocsOf: 1, row: row{what: "Avro"}},
		{bench: "BenchmarkMapped/Csv", allocsOf: 1, row: row{what: "CSV"}},
	})
	return []table{{
		title: "JSON into columns",
		about: "Real flights, from the bytes of a message to typed columns, one goroutine.",
		unit:  "events/s", rows: rows,
	}, {
		title: "Other forms into columns",
		about: "An order of six attributes, two of them in messages inside others; one event per message, one goroutine.",
		unit:  "events/s", rows: forms,
	}}, err
}
