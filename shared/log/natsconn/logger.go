package natsconn

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog hands the server's log to slog. The server calls Fatalf where its
// own logger would end the process; here the first such text is kept, so that
// OpenEmbedded can return it.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal error
	// disabled is why the server switched JetStream off, in its own words.
	disabled string
	// rebuilt has the streams whose index was outdated at the start.
	rebuilt map[string]bool
}

// Noticef logs one level lower than its name: a start has twenty notices.
func (l *serverLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }

// Errorf logs an error, and keeps the one that says why JetStream is switched off.
func (l *serverLog) Errorf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); strings.Contains(text, "DISABLED") {
		l.mu.Lock()
		l.disabled = text
		l.mu.Unlock()
	}
	l.write(slog.LevelError, format, v)
}

// off returns why the server switched JetStream off, in its own words; "" if it did not say.
func (l *serverLog) off() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.disabled
}

// on says that JetStream is on again.
func (l *serverLog) on() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disabled = ""
}

// Warnf logs a warning. After a kill the server finds its index of a stream outdated, warns of
// that in several ways, and rebuilds it from the messages. Warnf logs that once for each
// stream, in words that say what happened.
func (l *serverLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	stream, ok := outdatedIndex(text)
	if !ok {
		l.write(slog.LevelWarn, "%s", []any{text})
		return
	}
	l.mu.Lock()
	said := l.rebuilt[stream]
	if l.rebuilt == nil {
		l.rebuilt = map[string]bool{}
	}
	l.rebuilt[stream] = true
	l.mu.Unlock()
	if !said {
		l.log.Info("the NATS server makes its index of a stream again, as after each kill; the messages are read for that, and none is lost", "stream", stream)
	}
	l.write(slog.LevelDebug, "%s", []any{text})
}

// outdatedIndex returns the stream whose index is outdated, if the server's text says so.
// Damaged messages are found by other checks.
func outdatedIndex(text string) (stream string, ok bool) {
	stream, what, ok := strings.Cut(strings.TrimPrefix(text, "Filestore ["), "] ")
	if !ok || !strings.HasPrefix(text, "Filestore [") {
		return "", false
	}
	for _, begin := range []string{
		"Recovering stream state from index errored", "Could not read stream state file", "Stream state too short",
		"Stream state checksum did not match", "Stream state magic and version mismatch", "Stream state has no checksum",
		"Stream state block does not exist", "Stream state detected prior state", "Stream state outdated",
		"Stream state encountered internal inconsistency on recover",
	} {
		if strings.HasPrefix(what, begin) {
			return stream, true
		}
	}
	return "", false
}

func (l *serverLog) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	l.mu.Lock()
	if l.fatal == nil {
		l.fatal = err
	}
	l.mu.Unlock()
	l.write(slog.LevelError, format, v)
}

func (l *serverLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) write(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, v...), "component", "nats-server")
	}
}
