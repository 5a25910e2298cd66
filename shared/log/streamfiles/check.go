package streamfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
)

// Config says what is checked.
type Config struct {
	// Dir is the folder of the NATS server, which must not run.
	Dir string
	// Aside is where the originals of changed files and the report are kept. It must be on
	// the same file system.
	Aside string
	// Ends says where each log must end, by JetStream stream.
	Ends map[string]witness.End
	// Limits are the limits that streams are made with.
	Limits natsconn.StreamLimits
	// MayLose says that a power failure may take the end of a log: the server does not sync
	// before it acknowledges.
	MayLose bool
	// Boot is the present run of the operating system, as witness.Boot tells.
	Boot uint64
	// Rebuild has settings made again that are lost. Without it they are a *MetaError.
	Rebuild bool
	// AcceptLoss replaces each frame that a log lacks by one that changes nothing, so that its
	// app continues without them.
	AcceptLoss bool
	// Within bounds the reading of results, in order to start in time. Logs are read in any
	// case. Zero is no bound.
	Within time.Duration
}

// Kind says what a finding is about.
type Kind string

// The kinds of findings.
const (
	// KindRecord is a damaged record that was taken out.
	KindRecord Kind = "record"
	// KindDamaged is a damaged record that a scrub found, and that is still there.
	KindDamaged Kind = "damaged"
	// KindEnd is an end of a log that is missing.
	KindEnd Kind = "end"
	// KindGap is a hole in a log whose cause is not known, such as a file that is gone.
	KindGap Kind = "gap"
	// KindMeta is about the settings of a stream.
	KindMeta Kind = "settings"
	// KindConsumer is a consumer that was removed.
	KindConsumer Kind = "consumer"
)

// Finding is one damage, and what was done about it.
type Finding struct {
	Time   time.Time `json:"time"`
	Kind   Kind      `json:"kind"`
	Stream string    `json:"stream"`
	File   string    `json:"file,omitempty"`
	// First and Last are the sequences that are missing because of it; 0: none, or unknown.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	What  string `json:"what"`
	// Original is where the file as it was is kept.
	Original string `json:"original,omitempty"`
	// Accepted says that an operator has accepted the loss.
	Accepted bool `json:"accepted,omitempty"`
}

// String says all of it in one line.
func (f *Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "JetStream stream %s: ", f.Stream)
	if f.File != "" {
		fmt.Fprintf(&b, "%s: ", f.File)
	}
	b.WriteString(f.What)
	one, more := "is missing", "are missing"
	if f.Kind == KindDamaged {
		one, more = "cannot be read", "cannot be read"
	}
	switch {
	case f.First > 0 && f.First == f.Last:
		fmt.Fprintf(&b, "; sequence %d %s", f.First, one)
	case f.First > 0 && f.Last == 0:
		fmt.Fprintf(&b, "; the sequences from %d on %s", f.First, more)
	case f.First > 0:
		fmt.Fprintf(&b, "; sequences %d to %d %s", f.First, f.Last, more)
	}
	if f.Accepted {
		b.WriteString(", which was accepted: the app goes on without them")
	}
	if f.Original != "" {
		fmt.Fprintf(&b, "; the original is kept as %s", f.Original)
	}
	return b.String()
}

// Lost reports whether the finding means that messages are missing.
func (f *Finding) Lost() bool { return f.First > 0 }

// Report is what a check found.
type Report struct {
	// New has what this check found, Old what earlier ones found and is still so.
	New, Old []Finding
	// Ends are records that the witness is to be set to, since a loss was allowed or is
	// accepted.
	Ends map[string]witness.End
	// Unread has the streams with blocks that were not read within the time.
	Unread []string
}

// MetaError says that a stream's settings are lost while its messages are there. Rebuild
// them; the server would write a new stream over the messages.
type MetaError struct {
	Stream string
	File   string
	Why    string
}

func (e *MetaError) Error() string {
	return fmt.Sprintf("JetStream stream %s: %s is damaged: %s; its messages are intact", e.Stream, e.File, e.Why)
}

// OtherLogError says that a log is not the one that was acknowledged.
type OtherLogError struct {
	Stream     string
	Difference string
}

func (e *OtherLogError) Error() string {
	return fmt.Sprintf("JetStream stream %s is not the log that this process wrote: %s; an old copy of its files was restored, or another server wrote them", e.Stream, e.Difference)
}

// checker is one check of a folder.
type checker struct {
	Config
	now      time.Time
	report   Report
	problems []error
}

// Check checks the files of all streams, and takes out what is damaged. It is an error if
// the server must not start: a *MetaError or an *OtherLogError for each reason.
func Check(cfg Config) (*Report, error) {
	c := &checker{Config: cfg, now: time.Now().UTC(), report: Report{Ends: map[string]witness.End{}}}
	folders, err := c.folders()
	if err != nil {
		return nil, fmt.Errorf("check the files of JetStream: %w", err)
	}
	old, err := ReadReport(cfg.Aside)
	if err != nil {
		return nil, err
	}
	for _, s := range folders {
		if err := c.checkStream(s); err != nil {
			c.problems = append(c.problems, err)
		}
	}
	c.keepOld(old, folders)
	if err := writeReport(cfg.Aside, slices.Concat(c.report.Old, c.report.New)); err != nil {
		c.problems = append(c.problems, err)
	}
	if len(c.problems) > 0 {
		return &c.report, fmt.Errorf("check the files of JetStream: %w", errors.Join(c.problems...))
	}
	return &c.report, nil
}

// folders returns the streams of all accounts, and the logs that must be there, in the order
// of the checks: results are last, as there can be many.
func (c *checker) folders() (all []*folder, err error) {
	accounts, err := os.ReadDir(filepath.Join(c.Dir, "jetstream"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	seen := map[string]bool{}
	for _, account := range accounts {
		streams, err := os.ReadDir(filepath.Join(c.Dir, "jetstream", account.Name(), "streams"))
		if errors.Is(err, fs.ErrNotExist) || !account.IsDir() {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, s := range streams {
			// A name that starts with a dot belongs to a stream that is being deleted.
			if s.IsDir() && !strings.HasPrefix(s.Name(), ".") {
				all = append(all, c.newFolder(account.Name(), s.Name()))
				seen[s.Name()] = true
			}
		}
	}
	for stream, end := range c.Ends {
		if end.Seq > 0 && !seen[stream] {
			all = append(all, c.newFolder("$G", stream))
		}
	}
	slices.SortFunc(all, func(a, b *folder) int {
		if a.log != b.log {
			if a.log {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return all, nil
}

func (c *checker) found(f Finding) {
	f.Time = c.now
	c.report.New = append(c.report.New, f)
}

// keepOld takes over the findings of earlier checks whose sequences are still missing.
func (c *checker) keepOld(old []Finding, folders []*folder) {
	there := map[string]*folder{}
	for _, s := range folders {
		there[s.name] = s
	}
	for _, f := range old {
		s := there[f.Stream]
		if s == nil || !f.Lost() || s.first > f.Last || !s.made.IsZero() && s.made.After(f.Time) {
			continue
		}
		known := slices.ContainsFunc(c.report.New, func(n Finding) bool {
			return n.Stream == f.Stream && n.First == f.First && n.Last == f.Last
		})
		if known { // a gap is found again at each check; the first report says more
			c.report.New = slices.DeleteFunc(c.report.New, func(n Finding) bool {
				return n.Stream == f.Stream && n.First == f.First && n.Last == f.Last && n.Kind == KindGap
			})
		}
		f.Accepted = f.Accepted || c.AcceptLoss && s.log
		c.report.Old = append(c.report.Old, f)
	}
}
