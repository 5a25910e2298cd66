package publish

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
)

// reply is JetStream's PubAck, and what ingest adds to it where a message holds
// several events.
type reply struct {
	Stream    string        `json:"stream"`
	Seq       uint64        `json:"seq"`
	Duplicate bool          `json:"duplicate"`
	Error     *replyError   `json:"error"`
	Accepted  *int          `json:"accepted"`
	Refused   []refusedItem `json:"refused"`
}

type replyError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// refusedItem is one event of a message; Index counts from 0.
type refusedItem struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

// verdict is what an answer means for the message.
type verdict int

const (
	taken   verdict = iota // all or some events are in the log, the rest is refused
	refused                // none is, and repeating it does not help
	again                  // repeat it later
	nobody                 // nobody listens on the subject; repeat it for a short while
)

// judge reads an answer. The text says why it is not taken.
func judge(m *nats.Msg) (verdict, reply, string) {
	var r reply
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nobody, r, "nobody takes events on this subject"
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return again, r, fmt.Sprintf("the answer is not JSON: %v", err)
	}
	switch {
	case r.Error == nil && r.Stream == "":
		return again, r, "the answer is neither an acknowledgement nor an error"
	case r.Error == nil:
		return taken, r, ""
	case r.Accepted != nil && *r.Accepted > 0:
		return taken, r, r.Error.Description
	case r.Error.Code >= http.StatusInternalServerError, r.Error.Code == http.StatusTooManyRequests, r.Error.Code == http.StatusRequestTimeout:
		return again, r, r.Error.Description
	default:
		return refused, r, r.Error.Description
	}
}
