package frame

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestChain runs the scripts of testdata/chain. A line is a frame as the log has
// it: "SEQ writer=W number=N prev=CRC crc=CRC", and the answer what a task does.
func TestChain(t *testing.T) {
	datadriven.Walk(t, "testdata/chain", func(t *testing.T, path string) {
		c := NewChain("app", 0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "limit":
				d.ScanArgs(t, "writers", &c.max)
			case "log":
				for line := range strings.Lines(d.Input) {
					var seq, writer, number uint64
					var prev, crc uint32
					if _, err := fmt.Sscanf(line, "%d writer=%d number=%d prev=%d crc=%d", &seq, &writer, &number, &prev, &crc); err != nil {
						d.Fatalf(t, "%q: %v", line, err)
					}
					h := Header{App: "app", Writer: writer, Number: number, Prev: prev}
					if d.HasArg("app") {
						d.ScanArgs(t, "app", &h.App)
					}
					verdict, err := c.Check(seq, &h, crc)
					if err != nil {
						fmt.Fprintln(&out, err)
						continue
					}
					fmt.Fprintln(&out, verdict)
				}
			case "entries":
				for _, e := range c.Entries(nil) {
					fmt.Fprintf(&out, "writer=%d number=%d crc=%d seq=%d\n", e.Writer, e.Number, e.CRC, e.Seq)
				}
			case "reload":
				entries := c.Entries(nil)
				c = NewChain("app", 0)
				if err := c.Load(entries); err != nil {
					return err.Error()
				}
				if !slices.Equal(entries, c.Entries(nil)) {
					return "other entries than before"
				}
			case "load":
				var entries []Entry
				for line := range strings.Lines(d.Input) {
					var e Entry
					if _, err := fmt.Sscanf(line, "writer=%d number=%d crc=%d seq=%d", &e.Writer, &e.Number, &e.CRC, &e.Seq); err != nil {
						d.Fatalf(t, "%q: %v", line, err)
					}
					entries = append(entries, e)
				}
				if err := c.Load(entries); err != nil {
					return err.Error()
				}
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			if out.Len() == 0 {
				return "ok"
			}
			return out.String()
		})
	})
}
