package siddhiql

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEmbed: the files that an app names become part of its text, once each, and errors keep
// their positions.
func TestEmbed(t *testing.T) {
	const text = `@app:name('a')
@source(@map(type='protobuf', descriptor='order.desc', message='shop.Order')) define stream A (id string);
@source(@map(type='avro', schema='r.avsc')) define stream B (v int);
@source(@map(type='avro', schema='r.avsc')) define stream C (v int);
@source(@map(type='avro', schema="""{"type":"record","name":"R","fields":[{"name":"v","type":"int"}]}""")) define stream D (v int);
from A select id insert into Out -- no semicolon`
	var asked []string
	read := func(name string) ([]byte, error) {
		asked = append(asked, name)
		switch name {
		case "order.desc":
			return os.ReadFile("../../../docs/examples/order.desc")
		case "r.avsc":
			return []byte("{\"type\":\"record\",\"name\":\"R\",\n\"fields\":[{\"name\":\"v\",\"type\":\"int\"}]}\n"), nil
		}
		return nil, errors.New("not there")
	}
	out, err := Embed(text, read)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(asked, []string{"order.desc", "r.avsc"}) || !strings.HasPrefix(out, text) {
		t.Errorf("asked for %q, and the text is %s", asked, out)
	}
	plan, err := Compile(out)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Stream("A").Proto == nil || plan.Stream("B").Avro == nil {
		t.Error("a map is missing")
	}
	again, err := Embed(out, func(string) ([]byte, error) { return nil, errors.New("asked twice") })
	if err != nil || again != out {
		t.Errorf("embedded again: %v, %s", err, again)
	}
	if normal, err := Parse(out); err != nil {
		t.Error(err)
	} else if p, err := Compile(normal.String()); err != nil || p.Digest != plan.Digest {
		t.Errorf("the normal form of the text is another app: %v", err)
	}
	if _, err := Embed(strings.ReplaceAll(text, "order.desc", "none.desc"), read); err == nil || err.Error() != "2:31: file 'none.desc': not there" {
		t.Error(err)
	}
	for _, odd := range []string{"define", "from S", ""} {
		if out, err := Embed(odd, read); err != nil || out != odd {
			t.Errorf("%q: %q, %v", odd, out, err)
		}
	}
	large := func(string) ([]byte, error) { return make([]byte, textBytesMax), nil }
	if _, err := Embed(text, large); err == nil || !strings.Contains(err.Error(), "expected at most 1048576") {
		t.Error(err)
	}
}
