package siddhiql

import (
	"math"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// A result in another format is, once it is read, the row that a result in JSON would be.
func TestResultsAreReadAsTheyWereWritten(t *testing.T) {
	const in = "define stream S (b bool, i int, w int, d int, l long, f float, g float, x double, s string); "
	avro := func(fields string) string {
		return in + `@sink(stream='Out', @map(type='avro', schema="""{"type":"record","name":"Row","fields":[` + fields + `]}""")) from S select * insert into Out;`
	}
	const unions = `{"name":"b","type":["null","boolean"]},{"name":"i","type":["null","int"]},{"name":"w","type":["long","null"]},{"name":"d","type":["null","double"]},` +
		`{"name":"l","type":["null","long"]},{"name":"f","type":["null","float"]},{"name":"g","type":["null","double"]},{"name":"x","type":["null","double"]},`
	plan, err := Compile(avro(unions + `{"name":"s","type":["null","string"]}`))
	if err != nil {
		t.Fatal(err)
	}
	out := plan.Stream("Out")
	reader, err := out.Sink.Format.Reader(out)
	if err != nil {
		t.Fatal(err)
	}
	b := event.NewBatch(out.Schema)
	row := func(x float64, whole int64, text string) {
		for i := range b.Cols {
			switch c := &b.Cols[i]; c.Type.Class() {
			case event.Reals:
				c.AppendFloat(float64(float32(x)))
			case event.Texts:
				c.AppendText(text)
			default:
				c.AppendInt(whole)
			}
		}
		b.TS = append(b.TS, 0)
	}
	row(0.1, 1, "é")
	row(math.NaN(), 0, "")
	row(math.Inf(-1), 1, "x")
	for i := range b.Cols {
		b.Cols[i].AppendNull()
	}
	b.TS = append(b.TS, 0)
	for i := range b.Len() {
		want := string(rowjson.AppendObject(nil, b, i))
		got, err := reader.AppendJSON(nil, out.Sink.Format.Writer.Append(nil, b, i))
		if err != nil || string(got) != want {
			t.Errorf("read as %s, %v, want %s", got, err, want)
		}
	}
	if got, err := reader.AppendJSON(nil, []byte{9}); err == nil {
		t.Errorf("what is no message is read as %s", got)
	}

	plan, err = Compile(avro(unions + `{"name":"s","type":["null","string","long"]}`))
	if err != nil {
		t.Fatal(err)
	}
	out = plan.Stream("Out")
	if _, err := out.Sink.Format.Reader(out); err == nil || !strings.Contains(err.Error(), "attribute s cannot be read from messages of type avro") {
		t.Errorf("a branch that does not fit: %v", err)
	}
}
