package publish

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
)

// reply is JetStream's PubAck, with what ingest adds to it where events of the
// message are refused. The package comment of services/ingest is the contract.
type reply struct {
	Stream    string      `json:"stream"`
	Duplicate bool        `json:"duplicate"`
	Error     *replyError `json:"error"`
	// Accepted is a number of events, and the names of apps in an error after which the
	// message is repeated.
	Accepted      json.RawMessage `json:"accepted"`
	RejectedCount int             `json:"rejected_count"`
	Rejected      []rejection     `json:"rejected"` // the first of them
}

type replyError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// rejection is a refused event of the message; Index counts from 0. Where several
// apps read the stream, an event can be listed for each, with a Text instead of a Reason.
type rejection struct {
	Index  int    `json:"index"`
	App    string `json:"app"`
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

// why says which app refuses the event, if several read the stream, and why.
func (r *rejection) why() string {
	if r.Text == "" {
		return r.Reason
	}
	return "app " + r.App + ": " + r.Text
}

// verdict is what an answer means for the message.
type verdict int

const (
	settled  verdict = iota // its events are in the log, except those that the answer refuses
	again                   // repeat it later
	nobody                  // no service listens on the subject; repeat it for a short while
	hopeless                // and the same for all others: no app reads the subject
)

// judge reads an answer. The text says why not all of the message is taken.
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
		return settled, r, ""
	case r.Error.Code == http.StatusNotFound:
		return hopeless, r, r.Error.Description
	case r.Error.Code >= http.StatusInternalServerError, r.Error.Code == http.StatusTooManyRequests, r.Error.Code == http.StatusRequestTimeout:
		return again, r, r.Error.Description
	default:
		return settled, r, r.Error.Description
	}
}
