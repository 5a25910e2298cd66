package cli

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

var rewriteReadme = flag.Bool("rewrite-readme", false, "write what the commands in README.md print into it")

// Blocks marked console in README.md, in the language reference and in operations.md hold commands
// that need no server, and the output of these commands.
func TestReadmeShowsWhatCommandsPrint(t *testing.T) {
	unsetSettings(t)
	t.Chdir(repository)
	for _, page := range []string{"README.md", languagePage, "docs/operations.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "```")
		blocks := 0
		for i := 1; i < len(parts); i += 2 {
			session, ok := strings.CutPrefix(parts[i], "console\n")
			if !ok {
				continue
			}
			blocks++
			printed := "console\n" + replaySession(t, session)
			if printed != parts[i] && !*rewriteReadme {
				t.Errorf("%s has\n%s\nbut it is\n%s\n(-rewrite-readme corrects it)", page, parts[i], printed)
			}
			parts[i] = printed
		}
		if blocks == 0 {
			t.Errorf("%s has no console block", page)
		}
		if *rewriteReadme {
			if err := os.WriteFile(page, []byte(strings.Join(parts, "```")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// replaySession returns the session with the current output of its commands.
func replaySession(t *testing.T, session string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(session) {
		command, ok := strings.CutPrefix(line, "$ bin/eventflux ")
		if !ok {
			continue
		}
		b.WriteString(line)
		command, head, _ := strings.Cut(strings.TrimSpace(command), " | head -")
		stdout, stderr, _ := run(command, "")
		out := stdout + stderr
		if head != "" {
			n, err := strconv.Atoi(head)
			if err != nil {
				t.Fatal(err)
			}
			out = strings.Join(strings.SplitAfter(out, "\n")[:n], "")
		}
		fmt.Fprint(&b, out)
	}
	return b.String()
}
