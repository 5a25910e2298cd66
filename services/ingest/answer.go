package ingest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/log/wal"
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
	diskFull       errCode = 20011
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
	describedMax = 3   // refused events with their reasons in the description
)

// problem is why a whole message is not accepted.
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
	Index int    `json:"index"`         // in the message, from 0
	App   string `json:"app,omitempty"` // if several sources read the subject
	// Code and Text say why if several apps read the subject; Reason does if only one app does.
	Code   int    `json:"code,omitempty"`
	Text   string `json:"text,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// outcome is the part of an answer after stream and sequence, if events were refused. If at
// least one app accepted each event, it has neither Error nor Accepted.
type outcome struct {
	Error    *answerError `json:"error,omitempty"`
	Accepted *int         `json:"accepted,omitempty"` // events that every app accepted
	Count    int          `json:"rejected_count"`     // events that at least one app refused
	Rejected []rejection  `json:"rejected"`           // the first refused events
}

// partial is an error after which the publisher must repeat the message, if several apps read
// the subject.
type partial struct {
	Error    answerError `json:"error"`
	Accepted []string    `json:"accepted"` // apps for which the message is durable
	ID       string      `json:"id,omitempty"`
	Count    int         `json:"rejected_count,omitempty"`
	Rejected []rejection `json:"rejected,omitempty"`
}

func answerPrefix(stream string) []byte {
	return fmt.Appendf(nil, `{"stream":%q,"seq":`, stream)
}

func (p *problem) error() answerError { return answerError{p.code.code(), p.code, p.text} }

func (p *problem) json() []byte {
	return mustJSON(struct {
		Error answerError `json:"error"`
	}{p.error()})
}

// mustJSON encodes a value that always has a JSON form.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// refuse tells the publisher why no event of a message was accepted. several says that more
// than one app reads the subject.
func (s *Service) refuse(m *nats.Msg, p *problem, several bool) {
	if m.Reply == "" {
		if p.code.code() == 503 {
			s.counters.dropped.record(p.text)
		}
		return
	}
	if several && p.code.code() == 503 {
		s.respond(m.Reply, mustJSON(&partial{Error: p.error(), Accepted: []string{}}))
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

// respond sends an answer. It fails only while there is no connection. Then the publisher
// gets no answer, and must repeat the message as after any lost answer.
func (s *Service) respond(reply string, data []byte) {
	if err := s.cfg.Conn.Publish(reply, data); err != nil {
		s.counters.unanswered.record(err.Error())
	}
}

// refusals returns the outcome for the events that were refused.
func refusals(r *route) *outcome {
	o := &outcome{}
	var described []string
	targets, rows := 0, 0
	for i := range r.decodings {
		l := &r.decodings[i]
		targets, rows = targets+len(l.targets), max(rows, l.rows())
	}
	refused := make([]int, rows) // by event: how many targets refuse it
	refuse := func(t *target, index int, p *problem) {
		one := rejection{Index: index, Reason: p.text}
		if targets > 1 {
			one.App = t.app.Name
		}
		if r.several {
			one.Code, one.Text, one.Reason = p.code.code(), p.text, ""
		}
		refused[index]++
		if len(o.Rejected) < rejectedMax {
			o.Rejected = append(o.Rejected, one)
		}
	}
	for i := range r.decodings {
		l := &r.decodings[i]
		bad := map[int]bool{}
		for _, row := range l.refused {
			bad[row.Index] = true
			for _, t := range l.targets {
				refuse(t, row.Index, &problem{eventsRefused, row.Err.Error()})
			}
			if len(described) < describedMax {
				described = append(described, fmt.Sprintf("event %d: %s", row.Index, row.Err))
			}
		}
		for _, t := range l.targets {
			for index := 0; t.problem != nil && index < l.rows(); index++ {
				if !bad[index] {
					refuse(t, index, t.problem)
				}
			}
		}
		for index := l.rows(); index < rows; index++ { // events after too many wrong ones, which were not read
			refused[index] += len(l.targets)
		}
	}
	nobodys := 0 // events that no app accepted
	for _, n := range refused {
		if n > 0 {
			o.Count++
		}
		if n == targets {
			nobodys++
		}
	}
	if r.several && nobodys == 0 {
		return o
	}
	if o.Count > describedMax {
		described = append(described, "…")
	}
	accepted := rows - o.Count
	o.Accepted = &accepted
	o.Error = &answerError{eventsRefused.code(), eventsRefused, fmt.Sprintf("%d of %d events refused: %s", o.Count, rows, strings.Join(described, "; "))}
	return o
}

// rows returns how many rows of the message were read.
func (l *decoding) rows() int { return l.accepted + len(l.refused) }

// tail returns the rest of an answer after its sequence, from a comma on.
func (o *outcome) tail() []byte {
	tail := mustJSON(o)
	tail[0] = ','
	return tail
}

// reserve counts bytes as waiting, unless the total would exceed limit. If nothing else
// waits, it always succeeds.
func (s *Service) reserve(cost, limit int64) bool {
	if waiting := s.counters.waiting.Add(cost); waiting > limit && waiting != cost {
		s.counters.waiting.Add(-cost)
		return false
	}
	return true
}

// full returns the problem that there is no room. trouble is the current problem of a log, or
// nil.
func (s *Service) full(what string, trouble error) *problem {
	text := fmt.Sprintf("ingest is full: %s, limit %d (ingest.memory_max); publish again later", what, s.cfg.MemoryMax)
	if trouble != nil {
		text += "; " + trouble.Error()
	}
	s.counters.overload.record(text)
	return &problem{overloaded, text}
}

// slow counts a message that is refused because a task cannot keep up, and returns p.
func (s *Service) slow(p *problem) *problem {
	s.counters.slow.record(p.text)
	return p
}

// health returns the problem of the first log of the route that has one, or nil.
func (r *route) health() error {
	for i := range r.decodings {
		for _, t := range r.decodings[i].targets {
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
