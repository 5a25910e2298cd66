package subject

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	nameBytesMax    = 128
	subjectBytesMax = 1 << 10 // NATS takes 4 KiB for a whole line of its protocol
	partitionsMax   = 256
)

// reserved are the subjects that carry something other than events: frames, requests and
// answers of the services, refused events, and what NATS keeps for itself. An app that
// reads them would treat EventFlux's own traffic as events. Subjects that start with `$`,
// and results (`out.`), have rules of their own.
var reserved = []struct{ pattern, holds string }{
	{"ef.>", "EventFlux's own traffic"},
	{"dlq.>", "events that apps refused"},
	{"_INBOX.>", "answers to clients"},
	{"EF_INBOX.>", "answers to EventFlux's services"},
}

// CheckName refuses a name that cannot be part of subjects and of the names of JetStream
// streams, which are also folders on the server's disk. An app and each stream that can be
// published to or that has results needs such a name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > nameBytesMax:
		return fmt.Errorf("the name '%.20s…' has %d bytes: expected at most %d", name, len(name), nameBytesMax)
	}
	for _, r := range name {
		if r <= ' ' || r > '~' || strings.ContainsRune(`.*>/\`, r) {
			return fmt.Errorf("the name %q has the character %q, which cannot be part of a NATS subject: expected letters A-Z, digits, `-` and `_`", name, r)
		}
	}
	return nil
}

// CheckLabel refuses a name that people read and type but that is no part of a subject,
// such as the name of a query.
func CheckLabel(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > nameBytesMax:
		return fmt.Errorf("the name '%.20s…' has %d bytes: expected at most %d", name, len(name), nameBytesMax)
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not valid UTF-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the name %q has a character that cannot be printed", name)
	case strings.ContainsAny(name, "/,"):
		return fmt.Errorf("the name %q has a `/` or a `,`, which separate names of components: expected another name", name)
	case name[0] == '-' || name[0] == ' ' || name[len(name)-1] == ' ':
		return fmt.Errorf("the name %q starts with `-`, or starts or ends with a blank: expected another name", name)
	}
	return nil
}

// CheckSource refuses a subject or pattern that the app called app cannot read its events
// from. inboxes are the first tokens of the subjects where services get their answers; ""
// means the default, which is always reserved.
func CheckSource(pattern, app string, inboxes ...string) error {
	if len(pattern) > subjectBytesMax {
		return fmt.Errorf("the subject '%.20s…' has %d bytes: expected at most %d", pattern, len(pattern), subjectBytesMax)
	}
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		if why := badToken(t, i, len(tokens)); why != "" {
			return fmt.Errorf("the subject %q %s", pattern, why)
		}
	}
	if tokens[0][0] == '$' {
		return fmt.Errorf("the subject %q starts with `$`, which NATS keeps for itself: expected another first token", pattern)
	}
	for _, r := range reserved {
		if Overlap(pattern, r.pattern) {
			return fmt.Errorf("the subject %q overlaps `%s`, which has %s: expected another subject", pattern, r.pattern, r.holds)
		}
	}
	for _, prefix := range inboxes {
		if prefix != "" && (Overlap(pattern, prefix+".>") || Overlap(pattern, prefix)) {
			return fmt.Errorf("the subject %q overlaps `%s.>`, which has answers to EventFlux's services (nats.inbox): expected another subject", pattern, prefix)
		}
	}
	if tokens[0] == "out" {
		return checkResults(pattern, tokens, app)
	}
	return nil
}

// badToken says why the token at index i of n is invalid, or "".
func badToken(t string, i, n int) string {
	switch {
	case t == "":
		return "has an empty token: expected tokens joined by single dots, such as `sensors.*.temperature`"
	case t == ">" && i < n-1:
		return "has `>` before its end: it stands for all tokens that follow"
	case i == 0 && (t == "*" || t == ">"):
		return "starts with a wildcard, and so takes in EventFlux's own subjects: expected a word first"
	case t == "*" || t == ">":
		return ""
	case strings.ContainsAny(t, "*>"):
		return "has a wildcard inside a token: expected `*`, or `>` at the end, as a token of its own"
	case !utf8.ValidString(t):
		return "is not valid UTF-8"
	case strings.ContainsFunc(t, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == 0x2028 || r == 0xfeff }):
		return "has a token that contains a blank or a control character"
	}
	return ""
}

// checkResults refuses a pattern that names results of apps, with `out` as its first token,
// in another form than links read, and the results of the app itself.
func checkResults(pattern string, tokens []string, app string) error {
	whole := len(tokens) == 4 && tokens[1] != "*" && tokens[2] != "*" && (tokens[3] == "*" || isPartition(tokens[3]))
	switch {
	case !whole:
		return fmt.Errorf("the subject %q starts with `out`, where the results of apps are: expected `out.<app>.<Stream>.<p>` for those of partition p, or `out.<app>.<Stream>.*` for those of all", pattern)
	case tokens[1] == app:
		return fmt.Errorf("the subject %q has the app's own results, which would feed it without end: expected those of another app", pattern)
	}
	return nil
}

// isPartition reports whether a token is the number of a partition as subjects write it.
func isPartition(token string) bool {
	n, err := strconv.ParseUint(token, 10, 32)
	return err == nil && n < partitionsMax && strconv.FormatUint(n, 10) == token
}
