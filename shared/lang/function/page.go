package function

import (
	"fmt"
	"strings"
)

// Page returns the functions as a table in Markdown, as docs/language.md has it. Functions that
// other packages have registered without an example are left out.
func Page() string {
	var b strings.Builder
	b.WriteString("| function | returns | example | gives |\n|---|---|---|---|\n")
	cell := func(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
	for _, name := range Names() {
		s, _ := Lookup(name)
		if s.Example == "" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | `%s` |\n", cell(strings.Join(s.Usages(), "` or `")), cell(s.Doc), cell(s.Example), cell(s.Gives))
	}
	return b.String()
}
