// Package subject decides which names and NATS subjects an app may use. No other package
// does: app check, deploy and ingest all ask it. Package natsconn builds subjects and names
// of JetStream streams from names that this package accepts.
package subject

import "strings"

// Covers reports whether pattern matches all that other, a subject or a pattern, matches.
func Covers(pattern, other string) bool {
	for more, otherMore := true, true; more || otherMore; {
		if more != otherMore {
			return false
		}
		var a, b string
		a, pattern, more = strings.Cut(pattern, ".")
		b, other, otherMore = strings.Cut(other, ".")
		if a == ">" {
			return true
		}
		if b == ">" || a != "*" && a != b {
			return false
		}
	}
	return true
}

// Overlap reports whether at least one subject matches both patterns.
func Overlap(a, b string) bool {
	for moreA, moreB := true, true; moreA || moreB; {
		if moreA != moreB {
			return false
		}
		var x, y string
		x, a, moreA = strings.Cut(a, ".")
		y, b, moreB = strings.Cut(b, ".")
		if x == ">" || y == ">" {
			return true
		}
		if x != "*" && y != "*" && x != y {
			return false
		}
	}
	return true
}
