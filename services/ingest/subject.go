package ingest

import (
	"strings"

	"eventflux/shared/bus"
)

// answerable reports whether an answer may go to a reply subject. One that goes to a
// subject of events would be an event.
func (s *Service) answerable(reply string) bool {
	return strings.HasPrefix(reply, "_INBOX.") || bus.Answerable(reply) && owner(s.patterns, reply) == ""
}
