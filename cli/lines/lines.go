// Package lines reads files of events line by line. publish and replay use it, so that both see the
// same lines.
package lines

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/go-faster/jx"
)

// BytesMax is the maximum length of a line. For a longer one, Err returns bufio.ErrTooLong.
const BytesMax = 64 << 20

// Scanner reads the lines of a text. A line ends with LF, CR LF or CR. A byte order mark
// before the first line is skipped.
type Scanner struct {
	in     *bufio.Scanner
	text   []byte
	number int
	read   int64
}

// New returns a scanner of in.
func New(in io.Reader) *Scanner {
	s := &Scanner{in: bufio.NewScanner(in)}
	s.in.Buffer(make([]byte, 0, 64<<10), BytesMax)
	s.in.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, line, err := split(data, atEOF)
		s.read += int64(n)
		return n, line, err
	})
	return s
}

func split(data []byte, atEOF bool) (int, []byte, error) {
	end := bytes.IndexAny(data, "\r\n")
	switch {
	case end < 0 && atEOF && len(data) > 0:
		return len(data), data, nil
	case end < 0, data[end] == '\r' && end == len(data)-1 && !atEOF:
		return 0, nil, nil // more is needed
	case data[end] == '\r' && end < len(data)-1 && data[end+1] == '\n':
		return end + 2, data[:end], nil
	}
	return end + 1, data[:end], nil
}

// Scan reads the next line that is not blank. It returns false after the last line or an error.
func (s *Scanner) Scan() bool {
	s.read = 0
	for s.in.Scan() {
		s.number++
		s.text = s.in.Bytes()
		if s.number == 1 {
			s.text = bytes.TrimPrefix(s.text, []byte("\ufeff"))
		}
		if s.text = bytes.TrimSpace(s.text); len(s.text) > 0 {
			return true
		}
	}
	return false
}

// Text returns the line without surrounding white space. It is valid until the next Scan.
func (s *Scanner) Text() []byte { return s.text }

// Number returns the number of the line, from 1.
func (s *Scanner) Number() int { return s.number }

// Read returns how many bytes of input the last Scan consumed.
func (s *Scanner) Read() int64 { return s.read }

// Err returns the error that ended the reading early.
func (s *Scanner) Err() error { return s.in.Err() }

// One refuses a line with more than one JSON value. It makes no other checks.
func One(text []byte) error {
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(text)
	if d.Skip() != nil {
		return nil
	}
	if err := d.Skip(); !errors.Is(err, io.EOF) {
		return errors.New("has text after the first JSON value: write one event to a line")
	}
	return nil
}
