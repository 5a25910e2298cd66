package ingest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const mappedApp = `@app:name('m')
@source(subject='shop.orders', @map(type='json', enclosing.element='$.orders', fail.on.missing.attribute='false',
  @attributes(customer='$.who.id', total='$.sums[0]')))
define stream Orders (customer string, total double);
from Orders select customer, total insert into Out;`

func compressed(t *testing.T, encoding, text string) string {
	t.Helper()
	var b bytes.Buffer
	if encoding == "gzip" {
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

// TestMappedEvents: events of another shape than the stream, and compressed ones, reach the
// log as rows of the stream. Ignored members are counted.
func TestMappedEvents(t *testing.T) {
	r := start(t, nil, mappedApp, flightsApp)
	orders := `{"page":1,"orders":[{"who":{"id":"a","age":5},"sums":[1.5,2]},{"who":null},{"sums":[true]}]}`
	for _, encoding := range []string{"", "gzip", "zstd"} {
		payload, headers := orders, []string(nil)
		if encoding != "" {
			payload, headers = compressed(t, encoding, orders), []string{"Content-Encoding", encoding}
		}
		ack := r.ask("shop.orders", payload, headers...)
		if ack.Error == nil || ack.RejectedCount != 1 || ack.Rejected[0].Index != 2 || !strings.Contains(ack.Rejected[0].Reason, "total: expected double, found true") {
			t.Errorf("%s: %+v", encoding, ack)
		}
	}
	if ack := r.ask("events.Flights", `{"origin":"x","gate":"B7","delay":1}`); ack.Error != nil {
		t.Errorf("%+v", ack)
	}
	for _, s := range r.svc.Info().Streams {
		if want := map[string]uint64{"Flights": 1}[s.Stream]; s.Ignored != want {
			t.Errorf("stream %s: %d events have members that are ignored, want %d", s.Stream, s.Ignored, want)
		}
	}
	r.end()
	if got, row := r.logged("m", 0), `Orders +0 ["a",1.5] [null,null]`; !slices.Equal(got, []string{row, row, row}) {
		t.Errorf("logged %q", got)
	}
	for _, line := range r.dead("m") {
		if !strings.HasPrefix(line, `dlq.m.Orders {"sums":[true]} `) {
			t.Errorf("dead letter %s", line)
		}
	}
}
