package replay

import (
	"encoding/json"
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// head is the start of a query's output lines, up to the timestamp, for current and for expired
// rows.
type head struct {
	current, expired []byte
}

func newHead(q *siddhiql.Query) head {
	name := []byte("null")
	if q.Name != "" {
		name = quoted(q.Name)
	}
	target := q.Target.Name
	if q.Target.Block >= 0 {
		target = "#" + target
	}
	start := `{"query":` + string(name) + `,"stream":` + string(quoted(target)) + `,"kind":"`
	return head{
		current: []byte(start + `current","ts":`),
		expired: []byte(start + `expired","ts":`),
	}
}

func quoted(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON text
	}
	return text
}

// appendRow appends the line of row i of b up to its data.
func (h *head) appendRow(dst []byte, b *event.Batch, i int, expired bool) []byte {
	if expired {
		dst = append(dst, h.expired...)
	} else {
		dst = append(dst, h.current...)
	}
	dst = strconv.AppendInt(dst, b.TS[i], 10)
	dst = append(dst, `,"data":`...)
	return rowjson.AppendArray(dst, b, i)
}

func appendTail(dst []byte, chunk uint64, input int, clock int64) []byte {
	dst = append(dst, `,"chunk":`...)
	dst = strconv.AppendUint(dst, chunk, 10)
	dst = append(dst, `,"input":`...)
	dst = strconv.AppendInt(dst, int64(input), 10)
	dst = append(dst, `,"clock":`...)
	dst = strconv.AppendInt(dst, clock, 10)
	return append(dst, "}\n"...)
}
