package ingest

import (
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// answerable reports whether an answer may go to a reply subject. An answer to a subject of
// events would be an event.
func (s *Service) answerable(reply string) bool {
	return strings.HasPrefix(reply, "_INBOX.") || natsconn.Answerable(reply) &&
		!slices.ContainsFunc(s.table.Load().patterns, func(p string) bool { return subject.Covers(p, reply) })
}
