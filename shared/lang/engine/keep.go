package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// VersionComponent is the id of the component that has the version in force.
const VersionComponent = "log/version"

// keyKept is the key of the versions that a restore passes over.
const keyKept = "kept"

// keptSpan says that a restore keeps version Version: the deploy frames of the later versions up
// to Last do not come into force, and their events are adapted.
type keptSpan struct{ Version, Last uint64 }

// keepsFrom reports whether the deploy frame of a version does not come into force.
func (t *Task) keepsFrom(number uint64) bool {
	return slices.ContainsFunc(t.kept, func(s keptSpan) bool { return s.Version < number && number <= s.Last })
}

// KeepVersion changes the entries of the version component of a checkpoint, so that a task which
// starts from it keeps a version: the later ones up to last do not come into force.
func KeepVersion(entries []state.Entry, version, last uint32) ([]state.Entry, error) {
	spans, err := spansOf(entries)
	if err != nil {
		return nil, err
	}
	spans = slices.DeleteFunc(spans, func(s keptSpan) bool { return s.Version >= uint64(version) })
	if n := len(spans); n > 0 && spans[n-1].Last >= uint64(version) {
		return nil, fmt.Errorf("version %d is not in force there, because a restore kept version %d", version, spans[n-1].Version)
	}
	spans = append(spans, keptSpan{uint64(version), uint64(last)})
	changed := slices.DeleteFunc(slices.Clone(entries), func(e state.Entry) bool { return string(e.Key) == keyKept })
	changed = append(changed, state.Entry{Key: []byte(keyKept), Value: appendKept(nil, spans)})
	slices.SortFunc(changed, func(a, b state.Entry) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return changed, nil
}

// InForce returns the version in force at the end of a log. from is the version in force where
// the log starts, entries are those of the version component there, and frames the versions of
// the deploy frames in the log, in order.
func InForce(from uint32, entries []state.Entry, frames []uint32) (uint32, error) {
	spans, err := spansOf(entries)
	t := Task{kept: spans}
	for _, n := range frames {
		if n > from && !t.keepsFrom(uint64(n)) {
			from = n
		}
	}
	return from, err
}

func spansOf(entries []state.Entry) ([]keptSpan, error) {
	i := slices.IndexFunc(entries, func(e state.Entry) bool { return string(e.Key) == keyKept })
	if i < 0 {
		return nil, nil
	}
	return readKept(entries[i].Value)
}

func appendKept(dst []byte, spans []keptSpan) []byte {
	for _, s := range spans {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, s.Version), s.Last)
	}
	return dst
}

func readKept(src []byte) (spans []keptSpan, err error) {
	r := wire.New(src)
	for before := uint64(0); r.Len() > 0; {
		s := keptSpan{r.Uvarint(), r.Uvarint()}
		if s.Version <= before || s.Last <= s.Version {
			r.Fail("version %d is kept up to version %d", s.Version, s.Last)
		}
		before = s.Last
		spans = append(spans, s)
	}
	if len(src) == 0 {
		r.Fail("no version is kept")
	}
	return spans, r.End()
}

func keptText(spans []keptSpan) string {
	var texts []string
	for _, s := range spans {
		texts = append(texts, fmt.Sprintf("version %d is kept up to version %d", s.Version, s.Last))
	}
	return strings.Join(texts, ", ")
}

// Keep plans the version that follows a restore which keeps an older version. next is compiled from
// the text of kept. Where kept is in force, all state goes on. In a history where newest is, what
// cannot go on is given up, so that the log can always be applied.
func Keep(kept, newest, next *siddhiql.Plan, number uint32) (*Migration, error) {
	m, err := Migrate(kept, next, MigrateOptions{})
	if err != nil {
		return nil, err
	}
	if err := m.Err(); err != nil {
		return nil, err
	}
	m.Change.Queries, m.Change.Blocks = queryNames(next), blockNames(next) // whatever newest calls them
	before, err := New(newest)
	if err != nil {
		return nil, err
	}
	after, err := New(next)
	if err != nil {
		return nil, err
	}
	m.Change.Drop = planMigration(before, after, m.Change).refused()
	slices.Sort(m.Change.Drop)
	m.Change.Drop, m.Change.Kept = slices.Compact(m.Change.Drop), uint64(number)
	return m, planMigration(before, after, m.Change).Err()
}
