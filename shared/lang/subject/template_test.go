package subject

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTemplates(t *testing.T) {
	for _, c := range []struct{ text, pattern, refused string }{
		{"alerts.{severity}.{shop}", "alerts.*.*", ""},
		{"alerts.{partition}.{a b}.x", "alerts.7.*.x", ""},
		{"alerts", "alerts", ""},
		{"", "", "empty token"},
		{"alerts..x", "", "empty token"},
		{"{shop}.alerts", "", "starts with a placeholder"},
		{"alerts.shop-{id}", "", "placeholder inside a token"},
		{"alerts.{}", "", "placeholder inside a token"},
		{"alerts.{a}{b}", "", "placeholder inside a token"},
		{"alerts.*", "", "has a wildcard"},
		{"alerts.>", "", "has a wildcard"},
		{"alerts.a b", "", "blank"},
		{"$JS.{a}", "", "starts with `$`"},
		{"out.{a}", "", "overlaps `out.>`"},
		{"dlq.{a}", "", "overlaps `dlq.>`"},
		{"events.{a}", "", "overlaps `events.>`"},
		{"ef.{a}", "", "overlaps `ef.>`"},
		{"_INBOX.{a}", "", "overlaps `_INBOX.>`"},
		{"mine.{a}", "", "nats.inbox"},
		{"a" + strings.Repeat(".{x}", templateTokensMax), "", "expected at most 16"},
		{strings.Repeat("a", templateBytesMax+1), "", "expected at most 512"},
	} {
		parsed, err := ParseTemplate(c.text, "mine")
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%q: %v, want %q", c.text, err, c.refused)
			continue
		}
		if err == nil && parsed.PatternOf(7) != c.pattern {
			t.Errorf("%q: %s, want %s", c.text, parsed.PatternOf(7), c.pattern)
		}
	}
}

// Every text becomes one token that NATS allows, and different texts different ones. Short ones
// can be read back.
func TestTokens(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ .*>%a-c\x00-\x1f]{0,80}`), rapid.StringMatching(`(é|x| ){60,200}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		x, y := string(AppendToken([]byte("before."), []byte(a)))[len("before."):], string(AppendToken(nil, []byte(b)))
		if (a == b) != (x == y) {
			t.Fatalf("%q is %s and %q is %s", a, x, b, y)
		}
		if x == "" || x == nullToken || len(x) > TokenBytesMax || strings.ContainsAny(x, " .*>\t\r\n\x00\x7f") {
			t.Fatalf("%q becomes the token %q", a, x)
		}
		if len(a) > 0 && len(a) <= TokenBytesMax/3 && decoded(x) != a {
			t.Fatalf("%q becomes %s, which reads back as %q", a, x, decoded(x))
		}
	})
}

func decoded(token string) string {
	const digits = "0123456789ABCDEF"
	var text []byte
	for i := 0; i < len(token); i++ {
		if token[i] != '%' {
			text = append(text, token[i])
			continue
		}
		text = append(text, byte(strings.IndexByte(digits, token[i+1])<<4|strings.IndexByte(digits, token[i+2])))
		i += 2
	}
	return string(text)
}
