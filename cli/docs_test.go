package cli

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

var (
	inlineCommand   = regexp.MustCompile("`(eventflux [^`]+)`")
	fencedBlock     = regexp.MustCompile("(?s)```.*?\n```")
	indentedCommand = regexp.MustCompile(`(?m)^(?:    |  |\$ )(?:bin/)?(eventflux .*)$`)
)

// The program accepts every command line in the pages, the help and the alerts: the command exists,
// and so do its flags and arguments.
func TestCommandsInPagesExist(t *testing.T) {
	unsetSettings(t)
	t.Chdir(repository)
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	pages = append(pages, "README.md", "deploy/prometheus/alerts.yml", "examples/flights.siddhi", "examples/earthquakes.siddhi")
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range indentedCommand.FindAllStringSubmatch(string(text), -1) {
			found++
			checkCommand(t, page, line[1], true)
		}
		prose := fencedBlock.ReplaceAllString(string(text), "")
		for _, line := range inlineCommand.FindAllStringSubmatch(prose, -1) {
			found++
			checkCommand(t, page, line[1], false)
		}
	}
	if found < 50 {
		t.Errorf("only %d commands were found in the pages", found)
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			checkCommand(t, c.CommandPath()+" --help", strings.TrimSpace(line), true)
		}
		for _, inner := range c.Commands() {
			walk(inner)
		}
	}
	walk(newRootCommand(func() {}))
}

var commandInMessage = regexp.MustCompile(`\beventflux (app|checkpoint|checkpointer|debug|state|store) ([a-z]+)`)

// A message that names a command names one that there is.
func TestCommandsInMessagesExist(t *testing.T) {
	t.Chdir(repository)
	found := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range commandInMessage.FindAllStringSubmatch(string(text), -1) {
			found++
			root := newRootCommand(func() {})
			if c, _, err := root.Find(m[1:]); err != nil || c.Name() != m[2] {
				t.Errorf("%s: there is no command %s", path, m[0])
			}
		}
		return err
	})
	if err != nil || found < 50 {
		t.Errorf("%d commands were found in messages, %v", found, err)
	}
}

var (
	testsOfPackage = regexp.MustCompile("`([a-z]+(?:/[a-z]+)*)`: ((?:`Test\\w+`(?:, )?)+)")
	testInPage     = regexp.MustCompile("`(?:[a-z/]+\\.)?(Test\\w+)`")
	testFunction   = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// A test that a page names exists, in the package that the page names.
func TestTestsInPagesExist(t *testing.T) {
	t.Chdir(repository)
	tests := map[string]bool{} // names of tests, alone and after their package
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]], tests[filepath.ToSlash(filepath.Dir(path))+": "+m[1]] = true, true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testInPage.FindAllStringSubmatch(string(text), -1) {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", page, m[1])
			}
		}
		for _, m := range testsOfPackage.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.SplitSeq(strings.TrimSuffix(m[2], ", "), ", ") {
				found++
				if name = strings.Trim(name, "`"); !tests[m[1]+": "+name] {
					t.Errorf("%s: %s has no test %s", page, m[1], name)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d tests of packages were found", found)
	}
}

const languagePage = "docs/language.md"

// The apps in the language reference compile, and it lists every window, aggregator and function
// with its parameters.
func TestLanguagePage(t *testing.T) {
	t.Chdir(repository)
	text, err := os.ReadFile(languagePage)
	if err != nil {
		t.Fatal(err)
	}
	apps := 0
	for _, page := range []string{"README.md", languagePage} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "```") {
			app, ok := strings.CutPrefix(part, "sql\n")
			if !ok || i%2 == 0 {
				continue
			}
			apps++
			app, err := siddhiql.Embed(app, func(name string) ([]byte, error) { return os.ReadFile("docs/examples/" + name) })
			if err == nil {
				_, err = siddhiql.Compile(app)
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", page, err, app)
			}
		}
	}
	if apps < 3 {
		t.Errorf("%d apps", apps)
	}
	var usages []string
	for _, name := range window.Names() {
		spec, _ := window.Lookup(name)
		usages = append(usages, spec.Usage)
	}
	for _, name := range aggregate.Names() {
		spec, _ := aggregate.Lookup(name)
		usages = append(usages, spec.Usage)
	}
	for _, name := range function.StreamNames() {
		spec, _ := function.LookupStream(name)
		usages = append(usages, "#"+spec.Usage)
	}
	for _, f := range siddhiql.Functions() {
		if !strings.HasPrefix(f.Name, "instanceOf") {
			usages = append(usages, f.Usage)
		}
	}
	for _, usage := range usages {
		if !strings.Contains(strings.ReplaceAll(string(text), `\|`, "|"), "`"+usage+"`") {
			t.Errorf("%s does not have `%s`", languagePage, usage)
		}
	}
}

// checkCommand parses a command line without running it. Prose may mention a command without its
// required arguments.
func checkCommand(t *testing.T, page, line string, whole bool) {
	t.Helper()
	words := shellWords(line)[1:]
	root := newRootCommand(func() {})
	root.SetOut(io.Discard)
	cmd, rest, err := root.Find(words)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		t.Errorf("%s: %s: %v", page, line, err)
		return
	}
	args := cmd.Flags().Args()
	if cmd.HasSubCommands() && !strings.Contains(cmd.Use, " ") && (whole || len(args) > 0) {
		t.Errorf("%s: %s: there is no such command", page, line)
	}
	if whole || len(args) > 0 {
		if err := cmd.ValidateArgs(args); err != nil {
			t.Errorf("%s: %s: %v", page, line, err)
		}
	}
}

// shellWords splits a line as a shell does, up to a comment or a pipe.
func shellWords(line string) (words []string) {
	var word strings.Builder
	in, begun := rune(0), false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case in != 0 && r == in:
			in = 0
		case in != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			in, begun = r, true
		case r == ' ':
			end()
		case (r == '#' || r == '|') && !begun:
			return words
		case r == '\\' && !begun: // the command continues on the next line
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return words
}
