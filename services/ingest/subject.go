package ingest

import (
	"slices"
	"strings"

	"eventflux/shared/bus"
	"eventflux/shared/subject"
)

// answerable reports whether an answer may go to a reply subject. One that goes to a
// subject of events would be an event.
func (s *Service) answerable(reply string) bool {
	return strings.HasPrefix(reply, "_INBOX.") || bus.Answerable(reply) &&
		!slices.ContainsFunc(s.table.Load().patterns, func(p string) bool { return subject.Covers(p, reply) })
}
