package terminal_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/cli/terminal"
)

func TestEscapes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"plain: Größe 日本 🙂\tx\n", "plain: Größe 日本 🙂\tx\n"},
		{"\x1b[2J\x07\r", `\x1b[2J\x07\x0d`},
		{"\x1b]52;c;aGFybQ==\x07", `\x1b]52;c;aGFybQ==\x07`}, // sets the clipboard
		{"\u009b2J\x7f", `\u009b2J\x7f`},                     // CSI in one character
		{"a\u202eb", `a\u202eb`},                             // text from right to left
		{"\xff\x9b", `\xff\x9b`},
	} {
		var b strings.Builder
		if n, err := terminal.New(&b).Write([]byte(c.text)); err != nil || n != len(c.text) || b.String() != c.want {
			t.Errorf("Write(%q) wrote %q (%d, %v), want %q", c.text, b.String(), n, err, c.want)
		}
	}
}

// The output does not depend on how the input is divided, and nothing in it controls a terminal.
func TestNothingControls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "text")
		var whole, parts bytes.Buffer
		one, many := terminal.New(&whole), terminal.New(&parts)
		if _, err := one.Write(text); err != nil {
			t.Fatal(err)
		}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if _, err := many.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if one.Flush() != nil || many.Flush() != nil || !bytes.Equal(whole.Bytes(), parts.Bytes()) {
			t.Fatalf("at once %q, in parts %q", whole.Bytes(), parts.Bytes())
		}
		for _, r := range whole.String() {
			if r != '\n' && r != '\t' && unicode.IsControl(r) {
				t.Fatalf("%q controls", whole.String())
			}
		}
	})
}

func TestOtherWritersStay(t *testing.T) {
	var b bytes.Buffer
	if terminal.For(&b) != &b || terminal.Of(&b) != nil {
		t.Error("a buffer was treated as a terminal")
	}
}
