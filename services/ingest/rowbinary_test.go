package ingest

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const (
	orderSchema = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"who","type":["null",{"type":"record","name":"Who","fields":[{"name":"name","type":"string"}]}]},{"name":"total","type":"double"}]}`
	binaryApp   = `@app:name('bin')
@source(subject='shop.proto', @map(type='protobuf', descriptor='order.desc', message='shop.Order', @attributes(name='customer.name')))
define stream Proto (id string, name string, total double);
@source(subject='shop.avro', @map(type='avro', schema='order.avsc', @attributes(name='who.name')))
define stream Avro (id string, name string, total double);
from Proto select id insert into Out;
from Avro select id insert into Out;`
)

// TestEventsOfProtobufAndAvro: messages, compressed or not, reach the log as rows. Those that
// cannot be read are answered, counted and become dead letters, byte by byte.
func TestEventsOfProtobufAndAvro(t *testing.T) {
	descriptors, err := os.ReadFile("../../docs/examples/order.desc")
	if err != nil {
		t.Fatal(err)
	}
	text, err := siddhiql.Embed(binaryApp, func(name string) ([]byte, error) {
		if name == "order.avsc" {
			return []byte(orderSchema), nil
		}
		return descriptors, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := rowproto.ReadFiles(descriptors)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(files.Message("shop.Order"))
	if err := prototext.Unmarshal([]byte(`id: "o1" customer { name: "ann" } total: 2.5`), m); err != nil {
		t.Fatal(err)
	}
	message, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	record, err := avro.MustParse(orderSchema).Encode(map[string]any{"id": "o2", "who": nil, "total": 7.0})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, text)
	for _, ok := range []struct{ subject, payload, encoding string }{
		{"shop.proto", string(message), ""},
		{"shop.avro", string(record), ""},
		{"shop.proto", compressed(t, "zstd", string(message)), "zstd"},
		{"shop.avro", compressed(t, "gzip", string(record)), "gzip"},
	} {
		var headers []string
		if ok.encoding != "" {
			headers = []string{"Content-Encoding", ok.encoding}
		}
		if ack := r.ask(ok.subject, ok.payload, headers...); ack.Error != nil {
			t.Errorf("%s: %+v", ok.subject, ack)
		}
	}
	for subject, want := range map[string]string{"shop.proto": "not a message shop.Order: field customer at byte 5 of", "shop.avro": "not a record Order in Avro's binary encoding: field total"} {
		half := string(message[:8])
		if subject == "shop.avro" {
			half = string(record[:8])
		}
		if ack := r.ask(subject, half); ack.Error == nil || ack.RejectedCount != 1 || !strings.Contains(ack.Rejected[0].Reason, want) {
			t.Errorf("%s: %+v", subject, ack)
		}
	}
	r.end()
	want := []string{`Avro +0 ["o2",null,7]`, `Avro +0 ["o2",null,7]`, `Proto +0 ["o1","ann",2.5]`, `Proto +0 ["o1","ann",2.5]`}
	if got := r.logged("bin", 0); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("logged %q", got)
	}
	dead := strings.Join(r.dead("bin"), "\n")
	if !strings.Contains(dead, "dlq.bin.Proto "+string(message[:8])) || !strings.Contains(dead, "dlq.bin.Avro "+string(record[:8])) {
		t.Errorf("dead letters %q, sent %s", dead, base64.StdEncoding.EncodeToString(message[:8]))
	}
	for _, s := range r.svc.Info().Streams {
		if s.Accepted != 2 || s.Refused != 1 {
			t.Errorf("%s: %d accepted, %d refused", s.Stream, s.Accepted, s.Refused)
		}
	}
}
