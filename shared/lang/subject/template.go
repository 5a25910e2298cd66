package subject

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A template names the subjects of results, such as alerts.{severity}.{shop}. A placeholder is
// a token of its own: an attribute of the result, or the number of the partition.
const (
	templateBytesMax  = 512
	templateTokensMax = 16
	// TokenBytesMax is the longest token that a value becomes. A subject of such tokens fits
	// into a line of the NATS protocol, which has at most 4 KiB.
	TokenBytesMax = 128
	// PartitionName is the placeholder of the partition's number.
	PartitionName = "partition"
)

// Template is a parsed template of subjects.
type Template struct {
	Text   string
	Tokens []Token
}

// Token is a token of a template: a word, or a placeholder.
type Token struct {
	Word        string
	Placeholder string // "": it is a word
}

// kept are the subjects that no template may overlap, beside the reserved ones.
var kept = []struct{ pattern, holds string }{
	{"out.>", "results that have no subject of their own"},
	{"events.>", "events for apps"},
}

// ParseTemplate reads a template and refuses one that results cannot have. inboxes are those of
// CheckSource.
func ParseTemplate(text string, inboxes ...string) (*Template, error) {
	if len(text) > templateBytesMax {
		return nil, fmt.Errorf("the subject '%.20s…' has %d bytes: expected at most %d", text, len(text), templateBytesMax)
	}
	t := &Template{Text: text}
	tokens := strings.Split(text, ".")
	if len(tokens) > templateTokensMax {
		return nil, fmt.Errorf("the subject %q has %d tokens: expected at most %d", text, len(tokens), templateTokensMax)
	}
	for i, token := range tokens {
		inside, opened := strings.CutPrefix(token, "{")
		inside, closed := strings.CutSuffix(inside, "}")
		switch {
		case opened && closed && inside != "" && !strings.ContainsAny(inside, "{}"):
			if i == 0 {
				return nil, fmt.Errorf("the subject %q starts with a placeholder, so results could go to subjects of others: expected a word first", text)
			}
			t.Tokens = append(t.Tokens, Token{Placeholder: inside})
			continue
		case strings.ContainsAny(token, "{}"):
			return nil, fmt.Errorf("the subject %q has a placeholder inside a token, %q: expected a token of its own, such as `alerts.{severity}.{shop}`", text, token)
		case strings.ContainsAny(token, "*>"):
			return nil, fmt.Errorf("the subject %q has a wildcard: expected words, and placeholders such as `{shop}`", text)
		}
		if why := badToken(token, i, len(tokens)); why != "" {
			return nil, fmt.Errorf("the subject %q %s", text, why)
		}
		t.Tokens = append(t.Tokens, Token{Word: token})
	}
	if text[0] == '$' {
		return nil, fmt.Errorf("the subject %q starts with `$`, which NATS keeps for itself: expected another first token", text)
	}
	pattern := t.Pattern("*")
	for _, r := range slices.Concat(reserved, kept) {
		if Overlap(pattern, r.pattern) {
			return nil, fmt.Errorf("the subject %q overlaps `%s`, which has %s: expected another first token", text, r.pattern, r.holds)
		}
	}
	for _, prefix := range inboxes {
		if prefix != "" && (Overlap(pattern, prefix+".>") || Overlap(pattern, prefix)) {
			return nil, fmt.Errorf("the subject %q overlaps `%s.>`, which has answers to EventFlux's services (nats.inbox): expected another subject", text, prefix)
		}
	}
	return t, nil
}

// HasPartition reports whether the number of the partition is part of the subjects.
func (t *Template) HasPartition() bool {
	return slices.ContainsFunc(t.Tokens, func(k Token) bool { return k.Placeholder == PartitionName })
}

// Varies reports whether results of one partition have several subjects.
func (t *Template) Varies() bool {
	return slices.ContainsFunc(t.Tokens, func(k Token) bool { return k.Placeholder != "" && k.Placeholder != PartitionName })
}

// Pattern returns what matches all subjects of a partition, which is a number, or * for all.
func (t *Template) Pattern(partition string) string {
	tokens := make([]string, len(t.Tokens))
	for i, k := range t.Tokens {
		switch k.Placeholder {
		case "":
			tokens[i] = k.Word
		case PartitionName:
			tokens[i] = partition
		default:
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// PatternOf is Pattern of a partition by its number.
func (t *Template) PatternOf(partition uint32) string {
	return t.Pattern(strconv.FormatUint(uint64(partition), 10))
}

// Tokens for values that have no text. No escaped text is equal to them, since two hexadecimal
// digits follow each % of an escaped text.
const (
	nullToken  = "%null"
	emptyToken = "%empty"
	cutMark    = "%~"
)

// AppendNull appends the token of null.
func AppendNull(dst []byte) []byte { return append(dst, nullToken...) }

// AppendToken appends a text as one token. Each byte that NATS does not allow in a token, and
// each %, becomes % and two hexadecimal digits, so different texts have different tokens. If the token would be
// longer than TokenBytesMax, it is the start of the text and a digest of it.
func AppendToken(dst, text []byte) []byte {
	if len(text) == 0 {
		return append(dst, emptyToken...)
	}
	return appendCut(dst, text, cutMark, appendByte)
}

// appendCut appends the bytes of a text, each as add does. If the token would be longer than
// TokenBytesMax, it is the start of the text, the mark, and a digest of the text.
func appendCut(dst, text []byte, mark string, add func([]byte, byte) []byte) []byte {
	cutTo := TokenBytesMax - len(mark) - 16
	start, cut := len(dst), len(dst)
	for _, c := range text {
		if c&0xc0 != 0x80 && len(dst)-start <= cutTo { // at the start of a character
			cut = len(dst)
		}
		dst = add(dst, c)
		if len(dst)-start > TokenBytesMax {
			sum := sha256.Sum256(text)
			return hex.AppendEncode(append(dst[:cut], mark...), sum[:8])
		}
	}
	return dst
}

const hexDigits = "0123456789ABCDEF"

func appendByte(dst []byte, c byte) []byte {
	if c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>' || c == '%' {
		return append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, c)
}
