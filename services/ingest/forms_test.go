package ingest

import (
	"os"
	"testing"

	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const formsApp = `
define stream Plain (id string, name string, city string, total double, items int, sequence long);
@source(@map(type='json', @attributes(name='$.customer.name', city='$.customer.address.city')))
define stream Mapped (id string, name string, city string, total double, items int, sequence long);
@source(@map(type='protobuf', descriptor='order.desc', message='shop.Order', @attributes(name='customer.name', city='customer.address.city')))
define stream Proto (id string, name string, city string, total double, items int, sequence long);
@source(@map(type='avro', schema='bench.avsc', @attributes(name='customer.name', city='customer.address.city')))
define stream Avro (id string, name string, city string, total double, items int, sequence long);
@source(@map(type='csv'))
define stream Csv (id string, name string, city string, total double, items int, sequence long);
from Plain select id insert into Out;`

const formsSchema = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},
{"name":"customer","type":{"type":"record","name":"Customer","fields":[{"name":"name","type":"string"},
	{"name":"address","type":{"type":"record","name":"Address","fields":[{"name":"city","type":"string"}]}}]}},
{"name":"total","type":"double"},{"name":"items","type":["null","int"]},{"name":"sequence","type":"long"}]}`

// formsOfAnEvent returns one event in each form that a source reads.
func formsOfAnEvent(tb testing.TB) (plan *siddhiql.Plan, payloads map[string][]byte) {
	tb.Helper()
	descriptors, err := os.ReadFile("../../docs/examples/order.desc")
	if err != nil {
		tb.Fatal(err)
	}
	text, err := siddhiql.Embed(formsApp, func(name string) ([]byte, error) {
		if name == "bench.avsc" {
			return []byte(formsSchema), nil
		}
		return descriptors, nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	if plan, err = siddhiql.Compile(text); err != nil {
		tb.Fatal(err)
	}
	files, err := rowproto.ReadFiles(descriptors)
	if err != nil {
		tb.Fatal(err)
	}
	m := dynamicpb.NewMessage(files.Message("shop.Order"))
	if err := prototext.Unmarshal([]byte(`id: "order-4711" customer { name: "Ann Miller" address { city: "Bern" } } total: 129.95 items: 3 sequence: 170000004711`), m); err != nil {
		tb.Fatal(err)
	}
	message, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	record, err := avro.MustParse(formsSchema).Encode(map[string]any{
		"id": "order-4711", "customer": map[string]any{"name": "Ann Miller", "address": map[string]any{"city": "Bern"}}, "total": 129.95, "items": 3, "sequence": int64(170000004711),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return plan, map[string][]byte{
		"Plain":  []byte(`{"id":"order-4711","name":"Ann Miller","city":"Bern","total":129.95,"items":3,"sequence":170000004711}`),
		"Mapped": []byte(`{"id":"order-4711","customer":{"name":"Ann Miller","address":{"city":"Bern"}},"total":129.95,"items":3,"sequence":170000004711}`),
		"Proto":  message,
		"Avro":   record,
		"Csv":    []byte("order-4711,Ann Miller,Bern,129.95,3,170000004711\n"),
	}
}

// TestFormsOfAnEvent: an event is the same row in each form, and costs no memory where that is
// promised.
func TestFormsOfAnEvent(t *testing.T) {
	plan, payloads := formsOfAnEvent(t)
	plain := event.NewBatch(plan.Stream("Plain").Schema)
	newDecoder(plan.Stream("Plain")).Rows(plain, payloads["Plain"], 1)
	for name, payload := range payloads {
		s := plan.Stream(name)
		d, b := newDecoder(s), event.NewBatch(s.Schema)
		if n, refused := d.Rows(b, payload, 1); n != 1 {
			t.Errorf("%s: %v", name, refused)
			continue
		}
		if got, want := string(rowjson.AppendArray(nil, b, 0)), string(rowjson.AppendArray(nil, plain, 0)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if n := testing.AllocsPerRun(100, func() {
			b.Reset()
			d.Rows(b, payload, 1)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkMapped reads messages of one event in each form.
func BenchmarkMapped(b *testing.B) {
	plan, payloads := formsOfAnEvent(b)
	for _, name := range []string{"Plain", "Mapped", "Proto", "Avro", "Csv"} {
		b.Run(name, func(b *testing.B) {
			s := plan.Stream(name)
			d, batch := newDecoder(s), event.NewBatch(s.Schema)
			b.ReportAllocs()
			for b.Loop() {
				batch.Reset()
				if n, _ := d.Rows(batch, payloads[name], 1); n != 1 {
					b.Fatal("refused")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
