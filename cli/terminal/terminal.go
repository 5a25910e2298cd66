// Package terminal prevents text that others wrote from controlling a user's terminal: names,
// payloads, headers and errors may hold escape sequences that move the cursor, set the clipboard or
// hide text.
package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// For returns a Writer around w if w is a terminal. Otherwise it returns w: output to files and
// other programs is not changed.
func For(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return New(f)
	}
	return w
}

// Is reports whether a file is a terminal.
func Is(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Of returns the terminal that a writer from For writes to, for callers that draw on it; nil if
// there is none.
func Of(w io.Writer) *os.File {
	if w, ok := w.(*Writer); ok {
		f, _ := w.to.(*os.File)
		return f
	}
	return nil
}

// Writer escapes control characters and characters that change the direction of text: ESC becomes
// \x1b. Line feeds and tabs pass. It is safe for concurrent use.
type Writer struct {
	mu  sync.Mutex
	to  io.Writer
	cut []byte // the start of a character that the next write completes
	buf []byte
}

// New returns a Writer that writes to w.
func New(w io.Writer) *Writer { return &Writer{to: w} }

// Write implements io.Writer. It may keep back up to three bytes of an incomplete character until
// the next Write or Flush.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := append(w.cut, p...)
	w.cut, w.buf = nil, w.buf[:0]
	for len(rest) > 0 {
		if !utf8.FullRune(rest) {
			w.cut = rest
			break
		}
		r, n := utf8.DecodeRune(rest)
		w.buf = appendRune(w.buf, r, rest[:n])
		rest = rest[n:]
	}
	if _, err := w.to.Write(w.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes the bytes that Write kept back.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = w.buf[:0]
	for _, b := range w.cut {
		w.buf = fmt.Appendf(w.buf, `\x%02x`, b)
	}
	w.cut = nil
	_, err := w.to.Write(w.buf)
	return err
}

func appendRune(dst []byte, r rune, bytes []byte) []byte {
	switch {
	case r == '\n' || r == '\t':
	case r == utf8.RuneError && len(bytes) == 1, r < 0x80 && unicode.IsControl(r):
		return fmt.Appendf(dst, `\x%02x`, bytes[0])
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
		return fmt.Appendf(dst, `\u%04x`, r)
	}
	return append(dst, bytes...)
}
