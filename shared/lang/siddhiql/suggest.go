package siddhiql

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// suggest returns the candidate that name probably means, or "". A candidate that differs
// only in upper and lower case comes first; else the nearest by edit distance, if that is
// small for the length of the name. The first of equally near ones wins.
func suggest(name string, candidates []string) string {
	best, bestDistance := "", suggestDistanceMax(name)+1
	for _, c := range candidates {
		if c == name {
			continue
		}
		if strings.EqualFold(c, name) {
			return c
		}
		if tooFar(name, c) {
			continue
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// suggestDistanceMax allows one slip in a short name and one for each three
// letters of a longer one.
func suggestDistanceMax(name string) int { return min(max(1, len(name)/3), 4) }

// suggestBytesMax bounds the cost of a distance, which grows with the square.
const suggestBytesMax = 100

// tooFar avoids computing distances that the lengths alone rule out, and refuses to guess
// from a single letter.
func tooFar(name, candidate string) bool {
	d := len(name) - len(candidate)
	return len(name) < 2 || len(name) > suggestBytesMax || len(candidate) < 2 || max(d, -d) > suggestDistanceMax(name)
}

// didYouMean is the end of a message about an unknown name: a suggestion, or else the
// candidates.
func didYouMean(name string, candidates []string) string {
	if s := suggest(name, candidates); s != "" {
		return ": did you mean " + tick(s) + "?"
	}
	if len(candidates) == 0 {
		return ""
	}
	return "; there is " + listOf(candidates, "and")
}

// tick sets a piece of the app's text apart from the rest of the message.
func tick(s string) string { return "`" + shorten(s) + "`" }

// shorten keeps messages readable whatever the text contains.
func shorten(s string) string {
	const runesMax = 60
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > runesMax {
		return string(r[:runesMax]) + "…"
	}
	return s
}

// listOf writes names as a sentence does: `a`, `b` and `c`.
func listOf(names []string, last string) string {
	const namesMax = 12
	var b strings.Builder
	for i, n := range names {
		switch {
		case i == namesMax:
			b.WriteString(", …")
			return b.String()
		case i > 0 && i == len(names)-1:
			b.WriteString(" " + last + " ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(tick(n))
	}
	return b.String()
}
