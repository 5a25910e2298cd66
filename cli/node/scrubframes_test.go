package node

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/streamfiles"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// A scrub finds log records that were already bad when the server stored them, and that no task
// could apply. A log with trimmed first frames is sound.
func TestScrubChecksFrames(t *testing.T) {
	t.Parallel()
	// tick returns a frame, and its CRC.
	tick := func(app string, writer, number uint64, prev uint32, stamp int64) ([]byte, uint32) {
		t.Helper()
		var enc frame.Encoder
		data, err := enc.Append(nil, &frame.Frame{Header: frame.Header{App: app, Kind: frame.Tick, Writer: writer, Number: number, Prev: prev, Stamp: stamp}}, compress.None)
		if err != nil {
			t.Fatal(err)
		}
		_, crc, err := frame.DecodeHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		return data, crc
	}
	sixth, six := tick("a", 3, 6, 99, 1) // first remaining frame
	seventh, seven := tick("a", 3, 7, six, 2)
	eighth, _ := tick("a", 3, 8, seven, 3)
	wrong, _ := tick("a", 3, 8, six, 3)
	again, _ := tick("a", 3, 7, six, 9)
	foreign, _ := tick("b", 3, 8, seven, 3)
	lost, _ := tick("a", frame.LostWriter, 1, 0, 3)
	flipped := append([]byte{}, eighth...)
	flipped[len(flipped)-6] ^= 1
	for name, c := range map[string]struct {
		records [][]byte
		want    string // of the last record
	}{
		"sound":              {[][]byte{sixth, seventh, seventh, eighth}, ""},
		"a bit is flipped":   {[][]byte{sixth, seventh, flipped}, "it is no frame"},
		"foreign":            {[][]byte{sixth, []byte("x")}, "it is no frame"},
		"of another log":     {[][]byte{sixth, seventh, foreign}, "another log, EFW_b_0"},
		"follows another":    {[][]byte{sixth, seventh, wrong}, "has CRC"},
		"repeated otherwise": {[][]byte{sixth, seventh, again}, "with another content"},
		"one is missing":     {[][]byte{sixth, eighth}, "1 frames of its writer are missing"},
		"one is given up":    {[][]byte{sixth, lost, eighth}, ""},
	} {
		check, got := newFrameCheck(natsconn.WALStream("a", 0)), ""
		for i, data := range c.records {
			if got != "" {
				t.Errorf("%s: record %d: %s", name, i-1, got)
			}
			got = check(&streamfiles.Message{Sequence: uint64(i + 1), Data: data})
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if newFrameCheck(natsconn.OutStream("a", 0)) != nil {
		t.Error("results are no frames")
	}
}
