package ingest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"eventflux/shared/wal"
)

// errCode is the err_code of an answer; doc.go has the table.
type errCode int

const (
	unknownStream  errCode = 20001
	tooLarge       errCode = 20002
	badHeader      errCode = 20003
	eventsRefused  errCode = 20004
	overloaded     errCode = 20005
	unknownOutcome errCode = 20006
	logFailed      errCode = 20007
	lagging        errCode = 20008
	overLimit      errCode = 20009
	appUnavailable errCode = 20010
)

// code returns the class, as HTTP has it.
func (c errCode) code() int {
	switch c {
	case unknownStream:
		return 404
	case tooLarge:
		return 413
	case badHeader, eventsRefused:
		return 400
	default:
		return 503
	}
}

const (
	rejectedMax  = 100 // refused events that an answer lists
	describedMax = 3   // and those whose reason is in its description
)

// problem is why a whole message is not taken.
type problem struct {
	code errCode
	text string
}

// answerError is the error of an answer, in JetStream's form.
type answerError struct {
	Code        int     `json:"code"`
	ErrCode     errCode `json:"err_code"`
	Description string  `json:"description"`
}

// rejection is a refused event of a message.
type rejection struct {
	Index  int    `json:"index"`         // in the message, from 0
	App    string `json:"app,omitempty"` // where several read the subject
	Reason string `json:"reason"`
}

// outcome is what an answer has behind stream and sequence where events were
// refused.
type outcome struct {
	Error    answerError `json:"error"`
	Accepted int         `json:"accepted"` // events that every app took
	Count    int         `json:"rejected_count"`
	Rejected []rejection `json:"rejected"` // the first of them
}

func answerPrefix(stream string) []byte {
	return fmt.Appendf(nil, `{"stream":%q,"seq":`, stream)
}

func (p *problem) json() []byte {
	return mustJSON(struct {
		Error answerError `json:"error"`
	}{answerError{p.code.code(), p.code, p.text}})
}

// mustJSON encodes a value that always can be.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// refuse tells the publisher why nothing of a message was taken.
func (s *Service) refuse(m *nats.Msg, p *problem) {
	if m.Reply == "" {
		if p.code.code() == 503 {
			s.counters.dropped.note(p.text)
		}
		return
	}
	s.respond(m.Reply, p.json())
}

// answerRefused tells the publisher that all events of a message were refused.
func (s *Service) answerRefused(reply string, tail []byte) {
	if reply != "" && tail != nil {
		s.respond(reply, append([]byte{'{'}, tail[1:]...)) // no stream, no sequence
	}
}

// respond sends an answer. It fails only while there is no connection; then the
// publisher waits in vain, and must repeat as after any lost answer.
func (s *Service) respond(reply string, data []byte) {
	if err := s.cfg.Conn.Publish(reply, data); err != nil {
		s.counters.unanswered.note(err.Error())
	}
}

// refusals returns the rest of an answer behind its sequence, from a comma on.
func refusals(r *route) []byte {
	var o outcome
	var described []string
	distinct, rows := map[int]bool{}, 0
	for i := range r.lanes {
		l := &r.lanes[i]
		rows = max(rows, l.accepted+len(l.refused))
		for _, row := range l.refused {
			distinct[row.Index] = true
			for _, t := range l.targets {
				one := rejection{Index: row.Index, Reason: row.Err.Error()}
				if len(r.lanes) > 1 || len(l.targets) > 1 {
					one.App = t.app.Name
				}
				if len(o.Rejected) < rejectedMax {
					o.Rejected = append(o.Rejected, one)
				}
			}
			if len(described) < describedMax {
				described = append(described, fmt.Sprintf("event %d: %s", row.Index, row.Err))
			}
		}
	}
	o.Count, o.Accepted = len(distinct), rows-len(distinct)
	if o.Count > describedMax {
		described = append(described, "…")
	}
	o.Error = answerError{eventsRefused.code(), eventsRefused, fmt.Sprintf("%d of %d events refused: %s", o.Count, rows, strings.Join(described, "; "))}
	tail := mustJSON(&o)
	tail[0] = ','
	return tail
}

// reserve counts bytes as waiting, unless that makes more than limit. A message
// that finds nothing waiting is always taken.
func (s *Service) reserve(cost, limit int64) bool {
	if waiting := s.counters.waiting.Add(cost); waiting > limit && waiting != cost {
		s.counters.waiting.Add(-cost)
		return false
	}
	return true
}

// full is the problem that there is no room, with the trouble that a log has.
func (s *Service) full(what string, trouble error) *problem {
	text := fmt.Sprintf("ingest is full: %s, limit %d (ingest.memory_max); publish again later", what, s.cfg.MemoryMax)
	if trouble != nil {
		text += "; " + trouble.Error()
	}
	s.counters.overload.note(text)
	return &problem{overloaded, text}
}

// slow counts a message that is not taken since a task cannot keep up, and returns p.
func (s *Service) slow(p *problem) *problem {
	s.counters.slow.note(p.text)
	return p
}

// health returns the trouble of the first log of the route that has any.
func (r *route) health() error {
	for i := range r.lanes {
		for _, t := range r.lanes[i].targets {
			for _, l := range t.logs {
				if err := l.health(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var _ wal.Committed = (*ack)(nil)
