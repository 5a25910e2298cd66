package ingest

import (
	"fmt"
	"strings"

	"eventflux/shared/bus"
)

// Subjects of the suite and of NATS itself. An app that reads them would take its
// own frames, or other clients' answers, for events.
var reserved = []string{"ef.>", "dlq.>", "_INBOX.>", "$JS.>", "$SYS.>", "$SRV.>", "$KV.>", "$O.>"}

// answerable reports whether an answer may go to a reply subject. One that goes to a
// subject of events would be an event.
func (s *Service) answerable(reply string) bool {
	return strings.HasPrefix(reply, "_INBOX.") || bus.Answerable(reply) && owner(s.patterns, reply) == ""
}

// checkSource refuses a subject that an app cannot read.
func checkSource(pattern string) error {
	rest, more := pattern, true
	for more {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "":
			return fmt.Errorf("%q has an empty token", pattern)
		case token == ">" && more:
			return fmt.Errorf("%q has > before its end", pattern)
		case len(token) > 1 && strings.ContainsAny(token, "*>"):
			return fmt.Errorf("%q has a wildcard inside a token; NATS takes * and > as whole tokens only", pattern)
		case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return fmt.Errorf("%q has white space", pattern)
		}
	}
	if strings.HasPrefix(pattern, resultsPrefix) {
		_, err := parseResults(pattern)
		return err
	}
	for _, r := range reserved {
		if overlap(pattern, r) {
			return fmt.Errorf("%s overlaps %s, which is not for events; choose another subject", pattern, r)
		}
	}
	return nil
}

// covers reports whether pattern matches all that other, a subject or a pattern,
// matches.
func covers(pattern, other string) bool {
	for more, otherMore := true, true; more || otherMore; {
		if more != otherMore {
			return false
		}
		var a, b string
		a, pattern, more = strings.Cut(pattern, ".")
		b, other, otherMore = strings.Cut(other, ".")
		if a == ">" {
			return true
		}
		if b == ">" || a != "*" && a != b {
			return false
		}
	}
	return true
}

// overlap reports whether any subject matches both patterns.
func overlap(a, b string) bool {
	for moreA, moreB := true, true; moreA || moreB; {
		if moreA != moreB {
			return false
		}
		var x, y string
		x, a, moreA = strings.Cut(a, ".")
		y, b, moreB = strings.Cut(b, ".")
		if x == ">" || y == ">" {
			return true
		}
		if x != "*" && y != "*" && x != y {
			return false
		}
	}
	return true
}
