package lines_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/eventflux/eventflux/cli/lines"
)

func TestLines(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a": "1 a, ", "a\nb\n": "1 a, 2 b, ", "a\r\nb\r\n": "1 a, 2 b, ", "a\rb\r": "1 a, 2 b, ", "a\r\rb": "1 a, 3 b, ",
		"\ufeffa\nb": "1 a, 2 b, ", "\ufeff\n b \n": "2 b, ", "a\n\ufeffb": "1 a, 2 \ufeffb, ", "\n\n": "", "\r": "",
	} {
		for _, in := range []*lines.Scanner{lines.New(strings.NewReader(text)), lines.New(iotest.OneByteReader(strings.NewReader(text)))} {
			got, read := "", int64(0)
			for in.Scan() {
				got += fmt.Sprintf("%d %s, ", in.Number(), in.Text())
				read += in.Read()
			}
			if read += in.Read(); got != want || in.Err() != nil {
				t.Errorf("%q: %q, want %q; %v", text, got, want, in.Err())
			}
		}
	}
}

func TestOneValue(t *testing.T) {
	for text, good := range map[string]bool{
		`{"a":1}`: true, `[1]`: true, `{"a"`: true, `x`: true, `{"a":1}{"a":2}`: false, `{"a":1} x`: false, `1 2`: false,
	} {
		if err := lines.One([]byte(text)); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
