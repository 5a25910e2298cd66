package siddhiql

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Origin says that the events of a stream are the messages of a JetStream stream which
// somebody else fills: @source(stream='ORDERS', subject='orders.*', from='new').
type Origin struct {
	JetStream string // the stream's name
	Filter    string // only messages of these subjects; "" for all
	From      From
}

// From is the message of a JetStream stream where reading starts. The zero value is the first
// available message.
type From struct {
	// New leaves out messages that were stored before the app was deployed.
	New bool
	// Seq is the sequence of the first message; 0: none was named.
	Seq uint64
	// Time leaves out messages that were stored before it; zero: none was named.
	Time time.Time
}

// OriginSubject is what stands for the subject in the message ids of a JetStream stream's
// events. It does not depend on the filter, so that a changed filter never takes a message
// again.
func OriginSubject(jetStream string) string { return "$JS." + jetStream }

// Linked reports whether the stream's events are read from a JetStream stream, where each
// has a position: the results of another app, or the messages of an Origin.
func (s *Stream) Linked() bool { return s.Origin != nil || strings.HasPrefix(s.Subject, "out.") }

// Input reports whether events come to the stream from outside the app.
func (s *Stream) Input() bool {
	return s.Defined && s.Block < 0 && (s.Subject != "" || s.Origin != nil)
}

// ReadsFrom names where the stream's events come from, for people.
func (s *Stream) ReadsFrom() string {
	switch {
	case s.ReadsBucket() != nil:
		return "KV bucket " + s.ReadsBucket().Name
	case s.Origin == nil:
		return s.Subject
	case s.Origin.Filter == "":
		return "JetStream stream " + s.Origin.JetStream
	}
	return "JetStream stream " + s.Origin.JetStream + ", subject " + s.Origin.Filter
}

// ownStreams are the first letters of the names of JetStream streams that EventFlux makes,
// with what to read instead.
var ownStreams = []struct{ prefix, instead string }{
	{"EFO_", "it has results of an app: read them with subject='out.<app>.<Stream>.*' and without `stream`"},
	{"EFW_", "it is the log of an app, which only EventFlux reads"},
	{"EFD_", "it has refused events; a stream of your own may have it as its source"},
	{"KV_EF_", "EventFlux keeps its own state in that bucket"},
}

// checkJetStream refuses a name that no JetStream stream can have, or one of EventFlux's own.
func checkJetStream(name string) error {
	if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`.*>/\`, r) }) {
		return fmt.Errorf("'%s' cannot be the name of a JetStream stream: expected up to 255 characters without blanks, `.`, `*`, `>`, `/` and `\\`; to read a subject instead, write subject='…'", shorten(name))
	}
	for _, own := range ownStreams {
		if strings.HasPrefix(name, own.prefix) {
			return fmt.Errorf("the JetStream stream %s cannot be a source: %s", tick(name), own.instead)
		}
	}
	return nil
}

// parseFrom reads 'all', 'new', 'seq:17' or a time.
func parseFrom(text string) (f From, err error) {
	bad := fmt.Errorf("found from='%s', expected 'all', 'new', a sequence such as 'seq:1000', or a time such as '2026-01-31T08:00:00Z'", shorten(text))
	seq, isSeq := strings.CutPrefix(strings.ToLower(text), "seq:")
	switch {
	case strings.EqualFold(text, "all"):
		return From{}, nil
	case strings.EqualFold(text, "new"):
		return From{New: true}, nil
	case isSeq:
		n, err := strconv.ParseUint(seq, 10, 64)
		if err != nil || n == 0 {
			return From{}, bad
		}
		return From{Seq: n}, nil
	}
	for _, form := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return From{Time: t.UTC()}, nil
		}
	}
	return From{}, bad
}

// origin reads the keys stream, subject and from of @source.
func (df *definitionChecker) origin(elems map[string]*AnnotationElem, s *Stream) {
	name := elems["stream"]
	if err := checkJetStream(name.Value); err != nil {
		df.errorf(name.Pos, "%v", err)
		return
	}
	o := &Origin{JetStream: name.Value}
	if e := elems["subject"]; e != nil {
		if why := badFilter(e.Value); why != "" {
			df.errorf(e.Pos, "the subject '%s' %s", shorten(e.Value), why)
		}
		o.Filter = e.Value
	}
	if e := elems["from"]; e != nil {
		from, err := parseFrom(e.Value)
		if err != nil {
			df.errorf(e.Pos, "%v", err)
		}
		o.From = from
	}
	s.Subject, s.Origin = "", o
}

// badFilter says why a text is not a pattern of subjects; "" if it is one.
func badFilter(pattern string) string {
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return "has an empty token: expected tokens joined by single dots, such as 'orders.*.created'"
		case t == ">" && i < len(tokens)-1:
			return "has `>` before its end: it stands for all tokens that follow"
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return "has a wildcard inside a token: expected `*`, or `>` at the end, as a token of its own"
		case strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return "has a blank or a control character"
		}
	}
	return ""
}
