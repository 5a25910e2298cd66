package lineage

import (
	"errors"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
)

func barrier(t *testing.T, f frame.Frame) ([]byte, uint32) {
	t.Helper()
	f.App, f.Writer, f.Number = "a", 7, 1
	data, err := new(frame.Encoder).Append(nil, &f, compress.None)
	if err != nil {
		t.Fatal(err)
	}
	return data, f.CRC
}

// Check accepts only the exact barrier that a checkpoint was cut at.
func TestCheck(t *testing.T) {
	cut := frame.Frame{Header: frame.Header{Kind: frame.Barrier, Stamp: 5}, Cut: frame.Cut{Epoch: 3, Term: 1, ID: [16]byte{9}}}
	same, crc := barrier(t, cut)
	l := &checkpoint.Lineage{Stream: "EFW_a_0", Sequence: 12, ID: cut.Cut.ID, CRC: crc}
	if err := Check(same, l); err != nil {
		t.Error(err)
	}
	otherID, otherStamp := cut, cut
	otherID.Cut.ID = [16]byte{8}
	otherStamp.Stamp++
	flipped := append([]byte(nil), same...)
	flipped[20] ^= 1
	id, _ := barrier(t, otherID)
	stamp, _ := barrier(t, otherStamp)
	tick, _ := barrier(t, frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: 5}})
	for name, data := range map[string][]byte{"another id": id, "another CRC": stamp, "a tick": tick, "a flipped bit": flipped, "nothing": nil} {
		var wrong *Error
		if err := Check(data, l); !errors.As(err, &wrong) || !strings.Contains(wrong.Difference, "rewritten") || wrong.Log.Sequence != 12 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
