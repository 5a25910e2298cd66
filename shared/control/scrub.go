package control

import (
	"fmt"
	"strings"
	"time"
)

// Scrub is how far a process has read through the files of its embedded server, and which records
// in them are damaged.
type Scrub struct {
	// Ended is when the last complete scrub ended; zero before the first.
	Ended time.Time `json:"ended,omitzero"`
	// Read and Total are bytes of the scrub that is under way; both are 0 between two scrubs.
	Read    int64           `json:"bytes_read,omitempty"`
	Total   int64           `json:"bytes,omitempty"`
	Damaged []DamagedRecord `json:"damaged,omitempty"`
}

// DamagedRecord is one or more records of a JetStream stream, next to each other in a file, that
// cannot be read.
type DamagedRecord struct {
	Stream string `json:"stream"`
	File   string `json:"file"`
	// First and Last are the sequences that cannot be read. Last is 0 if no record follows them.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	What  string `json:"what"`
}

// Sequences names the sequences.
func (d *DamagedRecord) Sequences() string {
	switch {
	case d.First == 0:
		return "unknown sequences"
	case d.Last == 0:
		return fmt.Sprintf("sequences from %d on", d.First)
	case d.Last == d.First:
		return fmt.Sprintf("sequence %d", d.First)
	}
	return fmt.Sprintf("sequences %d to %d", d.First, d.Last)
}

// EndsBy reports whether it is known that no record after the sequence is damaged.
func (d *DamagedRecord) EndsBy(sequence uint64) bool { return d.Last > 0 && d.Last <= sequence }

// String says all of it in one line.
func (d *DamagedRecord) String() string {
	return fmt.Sprintf("JetStream stream %s, %s: %s: %s", d.Stream, d.Sequences(), d.File, d.What)
}

// String says how far the scrub is.
func (s *Scrub) String() string {
	var parts []string
	if !s.Ended.IsZero() {
		parts = append(parts, "the last scrub of its files ended at "+s.Ended.UTC().Format(time.RFC3339))
	}
	if s.Total > 0 {
		parts = append(parts, fmt.Sprintf("a scrub has read %d of %d MiB", s.Read>>20, s.Total>>20))
	}
	if parts == nil {
		return "no scrub of its files has ended yet"
	}
	return strings.Join(parts, ", and ")
}
