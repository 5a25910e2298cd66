package engine_test

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

const delaysApp = `@app:name('delays')
define stream Flights (airport string, minutes int);
@info(name='late')
from Flights[minutes > 15] select airport, sum(minutes) as total group by airport insert into Late;`

// send sends an event at a time in ms of the app's clock, and prints the rows that come out.
func send(e *engine.Engine, now int64, airport string, minutes int64) {
	flights := e.Plan().Streams[0]
	b := event.NewBatch(flights.Schema)
	b.TS = append(b.TS, now)
	b.Cols[0].AppendText(airport)
	b.Cols[1].AppendInt(minutes)
	e.Send(flights, b, 0, 1, now)
	for _, o := range e.Outputs() {
		rows, _ := e.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			fmt.Printf("%s: %s %d\n", e.Plan().Queries[o.Query].Name, rows.Cols[0].Text(i), rows.Cols[1].Ints[i])
		}
	}
	e.ResetOutputs()
}

// An engine is a function of its input: rows go in, rows come out. Its state moves to another
// engine of the same app, entry by entry, and that one continues where the first stopped.
func Example() {
	plan, err := siddhiql.Compile(delaysApp)
	if err != nil {
		fmt.Println(err)
		return
	}
	first, err := engine.New(plan)
	if err != nil {
		fmt.Println(err)
		return
	}
	send(first, 1000, "AMS", 20)
	send(first, 2000, "AMS", 5) // not late
	send(first, 3000, "BER", 40)

	second, err := engine.New(plan)
	if err != nil {
		fmt.Println(err)
		return
	}
	into := engine.Registry(second.Components()).List()
	for i, h := range engine.Registry(first.Components()).List() {
		data, err := state.SerializeState(h)
		if err == nil {
			err = state.DeserializeState(into[i], data)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	send(second, 4000, "AMS", 30)
	// Output:
	// late: AMS 20
	// late: BER 40
	// late: AMS 50
}
