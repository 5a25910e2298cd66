package processor

import (
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
)

// refusedLogEvery bounds how often the rows that tables refuse are logged.
const refusedLogEvery = time.Minute

// refusals are the rows of tables that were logged as refused.
type refusals struct {
	list *[]engine.RefusedRows
	at   time.Time
}

// logRefused logs what tables have refused since its last lines, at most once a minute.
func (t *task) logRefused(now time.Time) {
	list := t.status.refused.Load()
	if list == t.refusals.list || now.Sub(t.refusals.at) < refusedLogEvery {
		return
	}
	for _, r := range *list {
		t.log.Warn("a table refused rows; @OnError(action='stream') on the stream of the query sends their events to !<Stream>",
			"table", r.Table, "query", r.Query, "rows", r.Rows, "why", string(r.Why))
	}
	t.refusals = refusals{list: list, at: now}
}
