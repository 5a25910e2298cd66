package control

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
)

// Answer is what ingest answers to a publisher: JetStream's PubAck, with what ingest adds to
// it if events of the message are refused. The package comment of services/ingest is the
// contract.
type Answer struct {
	Stream    string       `json:"stream"`
	Sequence  uint64       `json:"seq"`
	Duplicate bool         `json:"duplicate"`
	Error     *AnswerError `json:"error"`
	// Accepted is a number of events, and the names of apps in an error after which the
	// message is repeated.
	Accepted      json.RawMessage `json:"accepted"`
	RejectedCount int             `json:"rejected_count"`
	Rejected      []Rejection     `json:"rejected"` // the first of them
}

// AnswerError says why a message is not taken.
type AnswerError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Rejection is a refused event of the message; Index counts from 0. If several apps read the
// stream, an event can be listed for each, with a Text instead of a Reason.
type Rejection struct {
	Index  int    `json:"index"`
	App    string `json:"app"`
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

// Why says which app refuses the event, if several read the stream, and why.
func (r *Rejection) Why() string {
	if r.Text == "" {
		return r.Reason
	}
	return "app " + r.App + ": " + r.Text
}

// Verdict is what an answer means for the message.
type Verdict int

// The verdicts.
const (
	// Decided: the message's events are in the log, except those that the answer refuses.
	Decided Verdict = iota
	// TryAgain: repeat the message later, with the same id.
	TryAgain
	// NoListener: no service listens on the subject. Repeat the message for a short while.
	NoListener
	// NoApp: no app reads the subject, so all other messages fail, too.
	NoApp
)

// ReadAnswer reads an answer. The text says why not all of the message is taken.
func ReadAnswer(m *nats.Msg) (Verdict, Answer, string) {
	var r Answer
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return NoListener, r, "no service accepts events on this subject"
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return TryAgain, r, fmt.Sprintf("the answer is not JSON: %v", err)
	}
	switch {
	case r.Error == nil && r.Stream == "":
		return TryAgain, r, "the answer is neither an acknowledgement nor an error"
	case r.Error == nil:
		return Decided, r, ""
	case r.Error.Code == http.StatusNotFound:
		return NoApp, r, r.Error.Description
	case r.Error.Code >= http.StatusInternalServerError, r.Error.Code == http.StatusTooManyRequests, r.Error.Code == http.StatusRequestTimeout:
		return TryAgain, r, r.Error.Description
	default:
		return Decided, r, r.Error.Description
	}
}
