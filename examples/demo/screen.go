package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen shows lines, and a block below them that changes in place on a terminal. Elsewhere
// only the blocks that are settled are shown.
type screen struct {
	out   io.Writer
	width func() int // of the terminal in columns; nil: none
	drawn int        // lines of the block
}

func newScreen(f *os.File) *screen {
	s := &screen{out: f}
	if fd := int(f.Fd()); term.IsTerminal(fd) {
		s.width = func() int {
			columns, _, err := term.GetSize(fd)
			if err != nil {
				return 80
			}
			return columns
		}
	}
	return s
}

// say erases the block and shows a line for good.
func (s *screen) say(format string, args ...any) {
	s.erase()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// draw replaces the block, on a terminal.
func (s *screen) draw(lines []string) {
	if s.width == nil {
		return
	}
	var b strings.Builder
	columns := s.width()
	for _, line := range lines {
		text := []rune(line)
		b.WriteString(string(text[:min(len(text), max(columns-1, 0))]) + "\n") // a line that wraps would count twice
	}
	s.erase()
	fmt.Fprint(s.out, b.String())
	s.drawn = len(lines)
}

// settle shows a block for good.
func (s *screen) settle(lines []string) {
	for _, line := range lines {
		s.say("%s", line)
	}
}

// erase removes the block.
func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}
