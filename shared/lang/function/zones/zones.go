// Package zones holds the time zones of the world, compiled in, so that results do not depend on
// the machine. The file is lib/time/zoneinfo.zip of go1.26, from the IANA Time Zone
// Database, which is in the public domain. Another file can change results, so it needs a new
// semantics level.
package zones

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"io"
	"strconv"
	"strings"
	"time"
)

//go:embed zoneinfo.zip
var file []byte

// Lookup returns a zone by its name, such as "Europe/Berlin", or by its distance from UTC, such
// as "+02:00"; false if there is none.
func Lookup(name string) (*time.Location, bool) {
	switch name {
	case "UTC", "GMT", "Z", "Etc/UTC":
		return time.UTC, true
	}
	if offset, ok := Offset(strings.TrimPrefix(strings.TrimPrefix(name, "GMT"), "UTC")); ok {
		return time.FixedZone(name, offset), true
	}
	archive, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, false
	}
	f, err := archive.Open(name)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, false
	}
	zone, err := time.LoadLocationFromTZData(name, data)
	return zone, err == nil
}

// Offset reads +hh:mm, +hhmm or +hh as seconds east of UTC.
func Offset(text string) (int, bool) {
	if len(text) < 2 || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	digits := strings.Replace(text[1:], ":", "", 1)
	if len(digits) == 1 || len(digits) == 3 {
		digits = "0" + digits
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || len(digits) != 2 && len(digits) != 4 {
		return 0, false
	}
	hours, minutes := int(n), 0
	if len(digits) == 4 {
		hours, minutes = int(n/100), int(n%100)
	}
	if hours > 18 || minutes > 59 {
		return 0, false
	}
	if seconds := hours*3600 + minutes*60; text[0] == '+' {
		return seconds, true
	} else {
		return -seconds, true
	}
}
