package shadow

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/rebuild"
)

// Report is how the results of two versions of an app compare.
type Report struct {
	App    string `json:"app"`
	Frames uint64 `json:"frames"` // of the log that both have applied
	Events uint64 `json:"events"` // that the old version has applied
	// Streams are the result streams of both versions, by name.
	Streams []Stream `json:"streams"`
	// DeadLetters are events that the versions have not applied.
	DeadLetters Count `json:"dead_letters"`
	// Early counts causes that were compared before the clocks of both versions had passed
	// them, to bound memory: they may count as a difference that is none.
	Early uint64 `json:"early,omitempty"`
	// Waiting counts rows that were not compared, since the clock of a version has not passed
	// their cause.
	Waiting uint64 `json:"waiting,omitempty"`
}

// Count has a number for each version.
type Count struct {
	Old uint64 `json:"old"`
	New uint64 `json:"new"`
}

// Stream is how the rows of a result stream compare.
type Stream struct {
	Name      string `json:"stream"`
	Equal     uint64 `json:"equal"`
	Different uint64 `json:"different"` // rows with the same cause and place, and other values
	OnlyOld   uint64 `json:"only_old"`
	OnlyNew   uint64 `json:"only_new"`
	// Missing names the version that does not publish the stream.
	Missing string `json:"missing,omitempty"`
	// Attributes counts the different rows by the attributes that differ. Attributes that only
	// one version has make no row different; OldAttributes and NewAttributes list them.
	Attributes    map[string]uint64 `json:"attributes,omitempty"`
	OldAttributes []string          `json:"old_attributes,omitempty"`
	NewAttributes []string          `json:"new_attributes,omitempty"`
	// OldFormat and NewFormat are how the versions write the rows (@map), if that differs. Rows
	// are compared by their values.
	OldFormat string `json:"old_format,omitempty"`
	NewFormat string `json:"new_format,omitempty"`
	// Samples has the first differences, and later ones ever more rarely.
	Samples []Sample `json:"samples,omitempty"`
}

// Sample is a row that differs.
type Sample struct {
	Kind      string `json:"kind"`   // different, only old or only new
	Number    uint64 `json:"number"` // among the rows of the stream and partition that differ, from 1
	Partition int    `json:"partition"`
	Cause     string `json:"cause"`
	Old       *Row   `json:"old,omitempty"`
	New       *Row   `json:"new,omitempty"`
}

// Row is a result of one version.
type Row struct {
	Position  string          `json:"position"` // of the frame and the row
	Timestamp int64           `json:"ts"`
	Kind      string          `json:"kind"`
	Data      json.RawMessage `json:"data"`
}

// firstSamples is the number of first differences of a stream that are kept. After them, only
// those whose number is a power of two are.
const firstSamples = 5

// Differs reports whether any row differs.
func (r *Report) Differs() bool {
	return slices.ContainsFunc(r.Streams, func(s Stream) bool { return s.differs() > 0 })
}

func (s *Stream) differs() uint64 { return s.Different + s.OnlyOld + s.OnlyNew }

// Kind is how rows of the versions differ. The kinds of a stream do not grow with its rows.
type Kind string

// The kinds of differences. Rows that are different have a kind for each attribute that differs,
// and for their timestamp and kind.
const (
	OnlyOld     Kind = "only old"
	OnlyNew     Kind = "only new"
	DifferentIn Kind = "different in " // with the name of an attribute after it
	NotApplied  Kind = "not applied"   // the versions have applied different numbers of events
)

// Text lists kinds for people.
func Text(kinds []Kind) string {
	var all []string
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

// DeadLetterStream stands for events that the versions have not applied, among the names of result
// streams.
const DeadLetterStream = "dead letters"

// Kinds returns the kinds of differences in the report, by result stream, sorted.
func (r *Report) Kinds() map[string][]Kind {
	all := map[string][]Kind{}
	for i := range r.Streams {
		if kinds := r.Streams[i].kinds(); len(kinds) > 0 {
			all[r.Streams[i].Name] = kinds
		}
	}
	if r.DeadLetters.Old != r.DeadLetters.New {
		all[DeadLetterStream] = []Kind{NotApplied}
	}
	return all
}

func (s *Stream) kinds() (kinds []Kind) {
	for name, n := range s.Attributes {
		if n > 0 {
			kinds = append(kinds, DifferentIn+Kind(name))
		}
	}
	if s.OnlyOld > 0 {
		kinds = append(kinds, OnlyOld)
	}
	if s.OnlyNew > 0 {
		kinds = append(kinds, OnlyNew)
	}
	slices.Sort(kinds)
	return kinds
}

// Report returns what was compared so far. Rows that wait for the other version count as waiting.
func (c *Comparer) Report() Report {
	r := c.report
	for _, g := range c.order {
		r.Waiting += uint64(len(g.rows[oldSide]) + len(g.rows[newSide]))
	}
	r.Streams = []Stream{}
	for _, s := range c.streams {
		copied := *s
		copied.Attributes, copied.Samples = maps.Clone(s.Attributes), slices.Clone(s.Samples)
		r.Streams = append(r.Streams, copied)
	}
	slices.SortFunc(r.Streams, byName)
	return r
}

func byName(a, b Stream) int { return strings.Compare(a.Name, b.Name) }

// Merge adds up the reports of partitions, which it may change.
func Merge(reports ...Report) Report {
	all := Report{Streams: []Stream{}}
	for _, r := range reports {
		all.App = r.App
		all.Frames, all.Events = all.Frames+r.Frames, all.Events+r.Events
		all.Early, all.Waiting = all.Early+r.Early, all.Waiting+r.Waiting
		all.DeadLetters.Old += r.DeadLetters.Old
		all.DeadLetters.New += r.DeadLetters.New
		for _, s := range r.Streams {
			i := slices.IndexFunc(all.Streams, func(o Stream) bool { return o.Name == s.Name })
			if i < 0 {
				all.Streams = append(all.Streams, s)
				continue
			}
			all.Streams[i].merge(&s)
		}
	}
	slices.SortFunc(all.Streams, byName)
	return all
}

// merge adds the rows of another partition.
func (s *Stream) merge(o *Stream) {
	s.Equal, s.Different = s.Equal+o.Equal, s.Different+o.Different
	s.OnlyOld, s.OnlyNew = s.OnlyOld+o.OnlyOld, s.OnlyNew+o.OnlyNew
	for name, n := range o.Attributes {
		s.Attributes[name] += n
	}
	s.Samples = append(s.Samples, o.Samples...)
	slices.SortStableFunc(s.Samples, func(a, b Sample) int { return cmp.Compare(a.Number, b.Number) })
}

// differ counts the rows of a group that are not all equal.
func (c *Comparer) differ(g *group) {
	s := g.key.stream
	g.align(func(a, b *row) {
		if a != nil && b != nil && g.equal(a, b) {
			s.Equal++
			return
		}
		kind := "different"
		switch {
		case a == nil:
			kind = "only new"
			s.OnlyNew++
		case b == nil:
			kind = "only old"
			s.OnlyOld++
		default:
			s.Different++
			s.count(g, a, b)
		}
		if n := s.differs(); n <= firstSamples || bits.OnesCount64(n) == 1 {
			s.Samples = append(s.Samples, Sample{kind, n, g.key.partition, g.cause(a, b), g.row(a), g.row(b)})
		}
	})
}

// count counts which attributes of two rows differ.
func (s *Stream) count(g *group, a, b *row) {
	if a.ts != b.ts {
		s.Attributes[output.HeaderTimestamp]++
	}
	if a.kind != b.kind {
		s.Attributes[output.HeaderKind]++
	}
	old, next := members(g.text[a.from:a.to]), members(g.text[b.from:b.to])
	for name, value := range old {
		if other, ok := next[name]; ok && !bytes.Equal(value, other) {
			s.Attributes[name]++
		}
	}
}

func (g *group) row(r *row) *Row {
	if r == nil {
		return nil
	}
	kind := "current"
	if r.kind == window.Expired {
		kind = "expired"
	}
	return &Row{r.at.String(), r.ts, kind, bytes.Clone(g.text[r.from:r.to])}
}

// cause says what the rows of a group follow from.
func (g *group) cause(a, b *row) string {
	if a == nil {
		a = b
	}
	switch k := &g.key; {
	case k.kind == engine.CauseTimer:
		return fmt.Sprintf("timer of %s at %d", k.name, k.time)
	case k.kind == engine.CauseChange:
		return "change of the app"
	case k.event > 0:
		return fmt.Sprintf("%s of %s", rebuild.Position{Sequence: a.at.seq, Event: k.event}, k.name)
	default:
		return fmt.Sprintf("event of %s at %d", k.name, k.time)
	}
}

// shownSamples is the number of samples of a stream that people see.
const shownSamples = 3

// Print prints the report for people.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STREAM\tEQUAL\tDIFFERENT\tONLY OLD\tONLY NEW\tNOTES")
	for i := range r.Streams {
		s := &r.Streams[i]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", s.Name, s.Equal, s.Different, s.OnlyOld, s.OnlyNew, strings.Join(s.notes(), "; "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Streams {
		s := &r.Streams[i]
		for _, x := range s.Samples[:min(len(s.Samples), shownSamples)] {
			fmt.Fprintf(w, "%s %s, %s\n", s.Name, x.Kind, x.Cause)
			printRow(w, "old", x.Old)
			printRow(w, "new", x.New)
		}
		if n := s.differs(); n > shownSamples {
			fmt.Fprintf(w, "%s has %d more; --json shows samples\n", s.Name, n-shownSamples)
		}
	}
	if r.DeadLetters.Old != r.DeadLetters.New {
		fmt.Fprintf(w, "events not applied: old %d, new %d\n", r.DeadLetters.Old, r.DeadLetters.New)
	}
	if r.Waiting > 0 {
		fmt.Fprintf(w, "not compared: %d rows, which one version gives later\n", r.Waiting)
	}
	if r.Early > 0 {
		fmt.Fprintf(w, "warning: the rows of %d causes were compared early, to bound memory; they may count as different and be equal\n", r.Early)
	}
	_, err := fmt.Fprintf(w, "%d frames, %d events\n", r.Frames, r.Events)
	return err
}

func (s *Stream) notes() (notes []string) {
	if s.Missing != "" {
		notes = append(notes, "not in the "+s.Missing+" version")
	}
	var names []string
	for name := range s.Attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		notes = append(notes, fmt.Sprintf("%s in %d", name, s.Attributes[name]))
	}
	if len(s.OldAttributes) > 0 {
		notes = append(notes, "without "+strings.Join(s.OldAttributes, ", "))
	}
	if len(s.NewAttributes) > 0 {
		notes = append(notes, "with "+strings.Join(s.NewAttributes, ", "))
	}
	if s.OldFormat != s.NewFormat {
		notes = append(notes, "messages are "+s.OldFormat+" in the old version and "+s.NewFormat+" in the new one")
	}
	return notes
}

func printRow(w io.Writer, version string, r *Row) {
	if r == nil {
		return
	}
	fmt.Fprintf(w, "  %s  %-8s ts %d %s %s\n", version, r.Position, r.Timestamp, r.Kind, r.Data)
}
