package eventfluxtest_test

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/eventfluxtest"
)

// A test of an app needs no server, and five minutes pass at once.
func ExampleStart() {
	const app = `
@app:name('Logins')
define stream Logins (user string, ok bool);
from Logins[not ok]#window.time(5 min) select user, count() as failures group by user having failures == 3 insert into Alerts;`

	test := func(t *testing.T) {
		logins := eventfluxtest.Start(t, app)
		for range 2 {
			logins.Send("Logins", map[string]any{"user": "ann", "ok": false})
		}
		logins.Advance(5 * time.Minute)
		logins.Send("Logins", map[string]any{"user": "ann", "ok": false})
		logins.Expect("Alerts") // no third failure within five minutes
	}
	_ = test // go test calls it
}
