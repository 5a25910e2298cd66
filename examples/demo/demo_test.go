package main

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/test/program"
)

var (
	rewriteDemo = flag.Bool("rewrite-demo", false, "write what the demo prints into docs/demo.md")
	binary      string
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, &binary)) }

const (
	page  = "docs/demo.md"
	fence = "```text\n"
)

// docs/demo.md shows what the demo prints. Process ids, measured times and the progress at the kill
// differ between runs, so they are masked.
func TestRecording(t *testing.T) {
	t.Chdir("../..")
	t.Setenv("EVENTFLUX_LISTEN", program.Address(t))
	var out bytes.Buffer
	d := demo{program: binary, flights: 1500, rate: 1000, end: true, screen: &screen{out: &out}}
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("%v, after\n%s", err, &out)
	}
	text := strings.ReplaceAll(out.String(), d.serverFlag(), "")
	text = strings.ReplaceAll(text, d.server, "nats://"+defaultListen)
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), fence)
	recorded, after, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatalf("%s has no recording", page)
	}
	if *rewriteDemo {
		if err := os.WriteFile(page, []byte(before+fence+text+"```"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got, want := masked(text), masked(recorded); got != want {
		t.Errorf("the demo printed\n%s\nand %s has\n%s\n(-rewrite-demo corrects it)", got, page, want)
	}
}

var volatile = []struct {
	text *regexp.Regexp
	mask string
}{
	{regexp.MustCompile(`(?s)(--in-flight 1\n).*(\$ kill)`), "$1(a board)\n$2"},
	{regexp.MustCompile(`([Pp]rocess|kill -9|checkpoint) \d+`), "$1 N"},
	{regexp.MustCompile(`came [0-9.]+ s`), "came N s"},
	{regexp.MustCompile(`seq:[0-9.]+`), "seq:N"},
	{regexp.MustCompile(`(busiest yesterday|recently late) .*`), "$1"},
}

func masked(text string) string {
	for _, v := range volatile {
		text = v.text.ReplaceAllString(text, v.mask)
	}
	return text
}

// A block on a terminal is drawn over the one before, and no line of it wraps.
func TestBlockChangesInPlace(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, width: func() int { return 10 }}
	s.draw([]string{"first", "a line that is too long"})
	s.draw([]string{"second"})
	s.say("done")
	const erase2, erase1 = "\x1b[2A\x1b[J", "\x1b[1A\x1b[J"
	if want := "first\na line th\n" + erase2 + "second\n" + erase1 + "done\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	for _, line := range new(board).lines() {
		if len(line) >= 80 {
			t.Errorf("%q has %d columns", line, len(line))
		}
	}
}
