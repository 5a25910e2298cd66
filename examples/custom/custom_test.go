package custom_test

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/cli/replay"
	_ "github.com/eventflux/eventflux/examples/custom"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const app = `define stream Quakes (place string, mag double);
@info(name = 'recent')
from Quakes#hopping(3, 2)
select spread(mag) as spread, clamp(max(mag), 0.0, 5.0) as most
insert into Recent;`

const events = `{"stream":"Quakes","ts":1,"data":["a",1.5]}
{"stream":"Quakes","ts":2,"data":["b",2.0]}
{"stream":"Quakes","ts":3,"data":["c",7.5]}
{"stream":"Quakes","ts":4,"data":["d",4.0]}
`

const want = `{"query":"recent","stream":"Recent","kind":"current","ts":2,"data":[0.5,2],"chunk":1,"input":2,"clock":2}
{"query":"recent","stream":"Recent","kind":"current","ts":4,"data":[5.5,5],"chunk":2,"input":4,"clock":4}
`

func TestOwnPartsOfTheLanguage(t *testing.T) {
	plan, err := siddhiql.Compile(app)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := replay.Run([]*siddhiql.Plan{plan}, "events", strings.NewReader(events), &out, replay.Options{}); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestWrongParametersAreRefused(t *testing.T) {
	_, err := siddhiql.Compile(strings.Replace(app, "hopping(3, 2)", "hopping(3)", 1))
	if err == nil || !strings.Contains(err.Error(), "hopping(size int, step int)") {
		t.Errorf("got %v, want the usage of hopping", err)
	}
}
