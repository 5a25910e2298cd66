package eventfluxtest_test

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/eventfluxtest"
)

const spending = `
@app:name('Spending')
define stream Payments (shop string, amount double);
from Payments#window.time(1 min) select shop, sum(amount) as total group by shop insert into Totals;`

type payment struct {
	Shop   string  `json:"shop"`
	Amount float64 `json:"amount"`
}

type total struct {
	Shop  string   `json:"shop"`
	Total *float64 `json:"total"`
}

func of(x float64) *float64 { return &x }

func TestTimePassesWhenTheTestSaysSo(t *testing.T) {
	for _, opts := range [][]eventfluxtest.Option{nil, {eventfluxtest.RestartEvery(1)}} {
		app := eventfluxtest.Start(t, spending, opts...)
		app.Send("Payments", payment{"bakery", 3})
		app.Advance(59 * time.Second)
		app.Send("Payments", payment{"bakery", 4})
		app.Expect("Totals", total{"bakery", of(3)}, total{"bakery", of(7)})
		app.Advance(time.Second)
		app.Send("Payments", []any{"bakery", 5})
		app.Expect("Totals", map[string]any{"total": 9.0})
		app.Expect("Totals")
	}
}

func TestEventsThatArriveTogether(t *testing.T) {
	app := eventfluxtest.Start(t, spending)
	app.SendChunk("Payments", payment{"bakery", 3}, payment{"bakery", 4})
	if rows := eventfluxtest.Rows[total](app, "Totals"); len(rows) != 1 || *rows[0].Total != 7 {
		t.Errorf("a chunk gives %v, want one row with 7", rows)
	}
	if got := app.Now(); !got.Equal(eventfluxtest.Epoch) {
		t.Errorf("the clock is at %v", got)
	}
}

// TestMistakesAreNamed: an expectation that is not met, and a wrong event, fail the test.
func TestMistakesAreNamed(t *testing.T) {
	for _, one := range []struct {
		name string
		make func(app *eventfluxtest.App)
		want string
	}{
		{"another value", func(app *eventfluxtest.App) {
			app.Send("Payments", payment{"bakery", 3})
			app.Expect("Totals", total{"bakery", of(4)})
		}, `result 1 of Totals is {"shop":"bakery","total":3}: want total 4`},
		{"no result", func(app *eventfluxtest.App) { app.Expect("Totals", total{"bakery", of(4)}) }, "Totals has 0 results, want 1:"},
		{"unknown attribute", func(app *eventfluxtest.App) {
			app.Send("Payments", payment{"bakery", 3})
			app.Expect("Totals", map[string]int{"totl": 3})
		}, `result 1 of Totals is {"shop":"bakery","total":3}: it has no attribute totl`},
		{"unknown stream", func(app *eventfluxtest.App) { app.Send("Payment", payment{}) }, `send to Payment: no app defines stream "Payment"; there is Payments`},
	} {
		t.Run(one.name, func(t *testing.T) {
			seen := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				one.make(eventfluxtest.Start(seen, spending))
			}()
			<-done
			if seen.text != one.want {
				t.Errorf("the test says %q, want %q", seen.text, one.want)
			}
		})
	}
}
