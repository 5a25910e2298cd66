package subject

import (
	"strings"
	"testing"
)

func TestCoversAndOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b            string
		covers, overlap bool
	}{
		{"a", "a", true, true},
		{"a", "b", false, false},
		{"a", "a.b", false, false},
		{"a.b", "a", false, false},
		{"a.*", "a.b", true, true},
		{"a.*", "a", false, false},
		{"a.*", "a.b.c", false, false},
		{"a.*", "a.>", false, true},
		{"a.>", "a.*", true, true},
		{"a.>", "a", false, false},
		{"a.>", "a.b.c", true, true},
		{"a.>", "a.>", true, true},
		{"*.b", "a.*", false, true},
		{"*.b", "a.c", false, false},
		{">", "a.*", true, true},
		{"a", "*", false, true},
		{"a", ">", false, true},
		{"a.b.>", "a.b", false, false},
		{"a.*.c", "a.b.*", false, true},
	} {
		if got := Covers(c.a, c.b); got != c.covers {
			t.Errorf("Covers(%s, %s) is %v", c.a, c.b, got)
		}
		if ab, ba := Overlap(c.a, c.b), Overlap(c.b, c.a); ab != c.overlap || ba != c.overlap {
			t.Errorf("Overlap(%s, %s) is %v and %v", c.a, c.b, ab, ba)
		}
	}
}

func TestSources(t *testing.T) {
	for pattern, want := range map[string]string{
		"orders.*.new": "", "orders.>": "", "a": "", "events.>": "", "events.Other": "", "sensoren.größe": "", "outer.>": "", "efx.>": "", "_INBOXES.>": "",
		"out.other.Out.0": "", "out.other.Out.*": "", "out.other.Out.255": "",
		"":     "empty token",
		"a..b": "empty token", ".a": "empty token", "a.": "empty token",
		"a.>.b": "`>` before its end", "a.b*": "wildcard inside", "a.>>": "wildcard inside",
		"a b": "blank or a control", "a.\t": "blank or a control", "a.\x00": "blank or a control", "a.\u2028b": "blank or a control", "a.\xff": "UTF-8",
		strings.Repeat("a.", 600) + "a": "1201 bytes",
		">":                             "starts with a wildcard", "*.wal.x": "starts with a wildcard", "*": "starts with a wildcard",
		"$JS.API.x": "`$`", "$SYS.>": "`$`", "$KV.b.>": "`$`", "$x": "`$`", "$": "`$`",
		"ef.>": "overlaps `ef.>`", "ef.wal.x.0": "overlaps `ef.>`", "ef.*": "overlaps `ef.>`",
		"dlq.a.S":  "overlaps `dlq.>`",
		"_INBOX.>": "overlaps `_INBOX.>`", "_INBOX.x.y": "overlaps `_INBOX.>`", "_INBOX.*": "overlaps `_INBOX.>`",
		"EF_INBOX.ingest.>": "overlaps `EF_INBOX.>`", "EF_INBOX.*.x": "overlaps `EF_INBOX.>`",
		"answers.of.ingest.>": "overlaps `answers.of.ingest.>`", "answers.*.ingest.x.y": "overlaps `answers.of.ingest.>`", "answers.>": "overlaps `answers.of.ingest.>`", "answers.of.x": "",
		"out.>": "expected `out.<app>", "out": "expected `out.<app>", "out.*": "expected `out.<app>", "out.a.*.0": "expected `out.<app>", "out.*.S.0": "expected `out.<app>", "out.a.S.00": "expected `out.<app>",
		"out.a.S.>": "expected `out.<app>", "out.a.S": "expected `out.<app>", "out.a.S.256": "expected `out.<app>", "out.a.S.4294967296": "expected `out.<app>", "out.a.S.-1": "expected `out.<app>",
		"out.own.S.0": "own results", "out.own.S.*": "own results", "out.owner.S.*": "",
	} {
		err := CheckSource(pattern, "own", "", "answers.of.ingest")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("x", nameBytesMax+1)
	for _, good := range []string{"app", "Fraud-2", "a_b", "$x", long[1:]} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a.b", "a b", "*", ">", "a/b", `a\b`, "é", "Größe", "a\x00", long} {
		if CheckName(bad) == nil {
			t.Errorf("the name %q was accepted", bad)
		}
	}
	for _, good := range []string{"q", "größte Summe", "a.b", "a'", "$x", long[1:]} {
		if err := CheckLabel(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-all", "a/b", "a,b", " a", "a ", "a\x1b[2J", "a\nb", "a\u202eb", "a\xff", long} {
		if CheckLabel(bad) == nil {
			t.Errorf("the label %q was accepted", bad)
		}
	}
}
