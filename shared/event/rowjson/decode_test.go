package rowjson

import (
	"bytes"
	"os"
	"testing"

	"eventflux/shared/event"
)

func schema(name string, attrs ...event.Attr) *event.Schema {
	return &event.Schema{Name: name, Attrs: attrs}
}

func flightsSchema() *event.Schema {
	return schema("Flights",
		event.Attr{Name: "time", Type: event.Long},
		event.Attr{Name: "origin", Type: event.String},
		event.Attr{Name: "destination", Type: event.String},
		event.Attr{Name: "delay", Type: event.Int},
		event.Attr{Name: "distance", Type: event.Int})
}

func quakesSchema() *event.Schema {
	return schema("Quakes",
		event.Attr{Name: "id", Type: event.String},
		event.Attr{Name: "time", Type: event.Long},
		event.Attr{Name: "net", Type: event.String},
		event.Attr{Name: "mag", Type: event.Double},
		event.Attr{Name: "depth", Type: event.Float},
		event.Attr{Name: "place", Type: event.String},
		event.Attr{Name: "type", Type: event.String})
}

func TestRealDataReadsBackAsItWasWritten(t *testing.T) {
	for _, c := range []struct {
		file   string
		schema *event.Schema
		rows   int
	}{
		{"flights.ndjson", flightsSchema(), 20000},
		{"earthquakes.ndjson", quakesSchema(), 1707},
	} {
		payload := realData(t, c.file)
		b := event.NewBatch(c.schema)
		accepted, refused := NewDecoder(c.schema).Rows(b, payload, 7)
		if accepted != c.rows || len(refused) > 0 {
			t.Fatalf("%s: %d rows accepted, refused %v", c.file, accepted, refused)
		}
		var written []byte
		for i := range b.Len() {
			written = append(AppendObject(written, b, i), '\n')
		}
		if !bytes.Equal(written, payload) {
			t.Errorf("%s: written rows differ from those read", c.file)
		}
	}
}

func realData(tb testing.TB, file string) []byte {
	tb.Helper()
	payload, err := os.ReadFile("../../../examples/data/" + file)
	if err != nil {
		tb.Fatal(err)
	}
	return payload
}
