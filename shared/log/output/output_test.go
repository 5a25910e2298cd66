package output

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
)

// A step is "subject place previous", with "-" for a result without that header.
func header(step string) (string, nats.Header) {
	subject, rest, _ := strings.Cut(step, " ")
	at, previous, _ := strings.Cut(rest, " ")
	generation, position, _ := strings.Cut(at, ":")
	h := nats.Header{HeaderGeneration: {generation}, HeaderPosition: {position}}
	if previous != "-" {
		h.Set(HeaderPrevious, previous)
	}
	return subject, h
}

func TestChecker(t *testing.T) {
	for name, c := range map[string]struct {
		all   bool
		first bool     // the reader starts at the first message there ever was
		seen  string   // "subject place"
		steps []string // a number in front of one is its sequence, else its number from 1
		// removed is the sequence before which results of stream a may have been removed.
		removed uint64
		want    string // the place after which results are missing; "": none are
	}{
		"in order":                         {steps: []string{"a 1:1.0 0:0.0", "a 1:1.1 1:1.0", "a 1:5.0 1:1.1"}},
		"the front was trimmed":            {steps: []string{"a 1:7.0 1:6.0", "a 1:8.0 1:7.0"}},
		"nothing was trimmed":              {first: true, steps: []string{"a 1:7.0 0:0.0", "b 1:7.1 0:0.0 1:7.0", "a 1:8.0 1:7.0 1:7.1"}},
		"the very first is missing":        {first: true, steps: []string{"a 1:7.0 1:6.0"}, want: "0:0.0"},
		"the first of another subject":     {first: true, steps: []string{"a 1:1.0 0:0.0", "b 1:8.0 1:7.0"}, want: "0:0.0"},
		"only the first of any":            {first: true, all: true, steps: []string{"b 1:1.1 0:0.0 1:1.0"}, want: "0:0.0"},
		"old results from the first on":    {first: true, steps: []string{"a 1:1.0 -", "a 1:10.0 1:1.0"}},
		"one is missing":                   {steps: []string{"a 1:1.0 0:0.0", "a 1:5.0 1:1.1"}, want: "1:1.0"},
		"the first is missing":             {seen: "a 1:1.0", steps: []string{"a 1:5.0 1:1.1"}, want: "1:1.0"},
		"read on":                          {seen: "a 1:1.1", steps: []string{"a 1:5.0 1:1.1"}},
		"one comes again":                  {seen: "a 1:1.1", steps: []string{"a 1:1.1 1:1.0", "a 1:5.0 1:1.1"}},
		"a new generation":                 {steps: []string{"a 1:9.0 1:8.0", "a 2:3.0 1:9.0", "a 2:4.0 2:3.0"}},
		"the end of one is missing":        {steps: []string{"a 1:9.0 1:8.0", "a 2:3.0 1:9.1"}, want: "1:9.0"},
		"old results, then new ones":       {steps: []string{"a 1:1.0 -", "a 1:9.0 -", "a 1:10.0 1:9.0"}},
		"an old one is missing at the end": {steps: []string{"a 1:1.0 -", "a 1:10.0 1:9.0"}, want: "1:1.0"},
		"two subjects":                     {all: true, steps: []string{"a 1:1.0 0:0.0", "b 1:1.1 0:0.0 1:1.0", "a 1:2.0 1:1.0 1:1.1", "a 1:3.0 1:2.0"}},
		"the last of a subject":            {all: true, steps: []string{"a 1:1.0 0:0.0", "b 1:3.1 0:0.0 1:2.0"}, want: "1:1.0"},
		"one was removed":                  {removed: 5, first: true, steps: []string{"a 1:2.0 1:1.0", "7 a 1:9.0 1:2.0"}},
		"the one before was removed":       {removed: 5, steps: []string{"1 a 1:1.0 0:0.0", "4 a 1:4.0 1:3.0", "6 a 1:6.0 1:5.0"}, want: "1:4.0"},
		"removed, up to the bound":         {removed: 6, steps: []string{"1 a 1:1.0 0:0.0", "4 a 1:4.0 1:3.0", "6 a 1:6.0 1:5.0", "7 a 1:7.0 1:6.0"}},
		"missing after the bound":          {removed: 5, steps: []string{"1 a 1:1.0 0:0.0", "5 a 1:5.0 1:3.0", "7 a 1:7.0 1:6.0"}, want: "1:5.0"},
		"of another stream":                {removed: 5, steps: []string{"1 b 1:1.0 0:0.0", "3 b 1:3.0 1:2.0"}, want: "1:1.0"},
		"one of two subjects is read":      {steps: []string{"a 1:1.0 0:0.0", "a 1:3.1 1:1.0 1:2.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			checker := Checker{Whole: c.all, Untrimmed: c.first, Compactions: func() (map[string]Compaction, error) {
				return map[string]Compaction{"a": {Before: c.removed}}, nil
			}}
			if c.seen != "" {
				subject, text, _ := strings.Cut(c.seen, " ")
				at, err := result.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				checker.Seen(subject, at)
			}
			var err error
			for i, step := range c.steps {
				seq := uint64(i + 1)
				if n, rest, _ := strings.Cut(step, " "); n[0] <= '9' {
					seq, step = uint64(n[0]-'0'), rest
				}
				subject, h := header(step)
				if err = checker.Next(seq, subject, h); err != nil && i < len(c.steps)-1 {
					t.Fatalf("at %s: %v", step, err)
				}
			}
			var missing *MissingError
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (!errors.As(err, &missing) || missing.Seen.String() != c.want):
				t.Fatalf("error %v, want results missing after %s", err, c.want)
			}
		})
	}
}

func TestPrevious(t *testing.T) {
	one, two := result.Position{Generation: 1, Seq: 17, Ordinal: 3}, result.Position{Generation: 2, Seq: 5}
	for want, p := range map[string]Previous{
		"0:0.0": {}, "1:17.3": {one, one}, "1:17.3 2:5.0": {one, two}, "0:0.0 1:17.3": {Any: one},
	} {
		if got := string(p.Append(nil)); got != want {
			t.Errorf("%+v is %q, want %q", p, got, want)
		}
		if got, err := ParsePrevious(want); got != p || err != nil {
			t.Errorf("%q is %+v, %v", want, got, err)
		}
	}
	for _, text := range []string{"", " ", "1", "1:2", "1:2.x", "1:2.3 ", "1:2.3 4", "1:2.3 1:2.3 1:2.3", "0:1.2", "1:0.2"} {
		if p, err := ParsePrevious(text); err == nil {
			t.Errorf("%q is %+v", text, p)
		}
	}
}

// Fences of every release can be read, and what is written does not change.
func TestGoldenFences(t *testing.T) {
	for file, c := range map[string]struct {
		record  bool
		newest  string
		through uint64
	}{
		"fence-0.json": {},
		"fence-1.json": {record: true, newest: "map[Alerts:1:17.3 Totals:2:5.0]", through: 42},
	} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ParseFence(data)
		if err != nil {
			t.Fatal(err)
		}
		r, record, err := f.Record()
		if err != nil || record != c.record || record && (fmt.Sprint(r.Newest) != c.newest || r.Last.String() != "2:5.0") || f.Through != c.through || f.Generation != 2 || f.Positions["Totals"] != "5.0" {
			t.Errorf("%s: %+v, %v, %v, %v", file, f, r, record, err)
		}
		if !record {
			continue
		}
		again, err := json.Marshal(NewFence(f.Owner, f.Plan, f.Generation, r))
		if err != nil || string(again) != strings.TrimSpace(string(data)) {
			t.Errorf("%s is written as\n%s", file, again)
		}
	}
}

// A result whose subject the app has chosen belongs to the stream that its header names, and a
// reader of all results finds what is missing on any of its subjects.
func TestResultsOnChosenSubjectsAreOfOneStream(t *testing.T) {
	header := func(stream, position, previous string) nats.Header {
		h := nats.Header{HeaderGeneration: {"1"}, HeaderPosition: {position}, HeaderPrevious: {previous}}
		if stream != "" {
			h[HeaderStream] = []string{stream}
		}
		return h
	}
	for _, c := range []struct{ subject, header, want string }{
		{"out.a.S.0", "", "S"},
		{"alerts.x", "Alerts", "Alerts"},
		{"ef.fence.a.0", "", ""},
		{"out.a.S", "", ""},
		{"out.a.S.0.x", "", ""},
	} {
		if got, ok := StreamOf(c.subject, header(c.header, "2.0", "0:0.0")); got != c.want && ok || ok != (c.want != "") {
			t.Errorf("%s: stream %q %t, want %q", c.subject, got, ok, c.want)
		}
	}
	checker := Checker{Whole: true, Untrimmed: true}
	for i, r := range []struct {
		subject string
		h       nats.Header
		missing bool
	}{
		{"alerts.x", header("Alerts", "2.0", "0:0.0"), false},
		{"alerts.y", header("Alerts", "3.0", "1:2.0"), false},
		{"out.a.S.0", header("", "3.1", "0:0.0 1:3.0"), false},
		{"alerts.x", header("Alerts", "5.0", "1:4.0 1:4.0"), true},
	} {
		var missing *MissingError
		if err := checker.Next(uint64(i+1), r.subject, r.h); errors.As(err, &missing) != r.missing || err != nil && !r.missing {
			t.Errorf("%s %s: %v", r.subject, r.h.Get(HeaderPosition), err)
		} else if r.missing && missing.Stream != "Alerts" {
			t.Errorf("a result of %s is missing", missing.Stream)
		}
	}
}
