// Package obs sets up what operators see of a running process: its log, its metrics and
// health over HTTP, and the export of its traces. The services decide what to log, measure
// and trace.
package obs

import (
	"io"
	"log/slog"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

// NewLogger returns a logger that writes records of at least level to w, as JSON or as text
// for people. It masks the secrets of URLs, also those in the errors of libraries. It is safe
// for concurrent use.
func NewLogger(w io.Writer, level slog.Level, json bool) *slog.Logger {
	w = secret.Writer(w)
	options := &slog.HandlerOptions{Level: level}
	if json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	options.ReplaceAttr = shortTime
	return slog.New(slog.NewTextHandler(w, options))
}

// shortTime prints the time in milliseconds, since people do not read nanoseconds. It leaves
// other attributes with the same name alone.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(slog.TimeKey, a.Value.Time().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	return a
}
