package siddhiql

import (
	"strings"
	"testing"
)

// A comment ends with its line, whatever ends the line; places count those lines.
func TestLineEnds(t *testing.T) {
	text := "define stream S (v int); -- all of it\nfrom S insert into A; -- more\nfrom S select w insert into B"
	for _, end := range []string{"\n", "\r\n", "\r"} {
		_, err := Compile(strings.ReplaceAll(text, "\n", end))
		if err == nil || err.Error() != "3:15: unknown attribute `w` of stream `S`; there is `v`" {
			t.Errorf("lines that end with %q: %v", end, err)
		}
	}
	if app, err := Parse("define stream S (v int); -- a comment\rfrom S insert into A;\n"); err != nil || len(app.Elements) != 1 {
		t.Errorf("a comment that ends with CR: %v", err)
	}
}
