package rowjson

import (
	"bytes"
	"errors"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func FuzzRows(f *testing.F) {
	for _, file := range []string{"flights.ndjson", "earthquakes.ndjson"} {
		lines := bytes.SplitAfterN(realData(f, file), []byte("\n"), 4)
		f.Add(lines[0], bytes.Join(lines[1:3], nil))
	}
	for _, seed := range []string{
		`{"b":true,"i":1,"l":2,"f":3.5,"x":-4.5e3,"s":"t\u00e9","o":{"k":[1, 2]}}`,
		`{"o":null,"s":null,"x":null,"f":null,"l":null,"i":null,"b":null}`,
		`[{"b":false,"i":-2147483648,"l":-9223372036854775808,"f":1e-45,"x":0.1,"s":"\ud83d\ude00","o":"x"}]`,
		"{\"b\":0}\n{\"b\":true,\"i\":1e3,\"l\":12.0,\"f\":0,\"x\":123456789012345678,\"s\":\"\",\"o\":[]}\n",
		`[{"b":tru`, "\n\n", `{"s":"\ud800"}`, "[[[[", `{}{}`,
	} {
		f.Add([]byte(seed), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, s := range []*event.Schema{everyType(), flightsSchema(), quakesSchema()} {
			agree(t, s, first, second)
		}
	})
}

func FuzzValues(f *testing.F) {
	for _, seed := range []string{
		`[true,1,2,3.5,4.5,"t",{"k":1}]`, ` [null,null,null,null,null,null,null] `, `[false,-1,1e3,0,-0.0,"\u00e9",[]]x`, `[`, `[1,]`,
		`{"b":true,"i":1,"l":2,"f":3.5,"x":-4.5e3,"s":"t","o":{}}`,
	} {
		f.Add([]byte(seed))
	}
	s := everyType()
	f.Fuzz(func(t *testing.T, data []byte) {
		d, b := NewDecoder(s), event.NewBatch(s)
		err := d.Values(b, data, 7)
		var refused *RowError
		if err != nil && (!errors.As(err, &refused) || b.Len() != 0 || b.Bytes() != 0) {
			t.Fatalf("%q is refused (%v) and leaves %s in the batch", data, err, text(b))
		}
		for i := range b.Cols {
			if b.Cols[i].Len() != b.Len() {
				t.Fatalf("%q: column %d has %d rows of %d", data, i, b.Cols[i].Len(), b.Len())
			}
		}
		if want := referenceValues(s, data); (want == nil) != (err != nil) {
			t.Fatalf("%q: %v, reference has %v", data, err, want)
		} else if err == nil {
			for i, cell := range want {
				if got := cellText(&b.Cols[i], 0); got != cell {
					t.Fatalf("%q: value %d is %s, reference has %s", data, i, got, cell)
				}
			}
			checkRoundTrip(t, b)
		}
	})
}
