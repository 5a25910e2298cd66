package streamfiles

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// fillMax is how many lost frames of one hole can be accepted. More of them are the loss of
// a log, which a checkpoint does more about.
const fillMax = 100_000

// fill replaces each missing frame of a log by a frame that changes nothing.
func (c *checker) fill(s *folder) error {
	holes := s.holes
	if s.used > s.last && (s.last > 0 || s.end != nil && s.used <= s.end.Seq) {
		holes = append(holes, hole{first: s.last + 1, last: s.used, stamp: s.stamp})
	}
	if len(holes) == 0 {
		return nil
	}
	data, crc, err := s.filler()
	if err != nil {
		return err
	}
	for _, h := range holes {
		if n := h.last - h.first + 1; n > fillMax {
			return fmt.Errorf("JetStream stream %s: %d frames are missing, and the loss of %d can be accepted; restore the log from a copy, or deploy the app under another @app:name", s.name, n, fillMax)
		}
		if err := c.fillHole(s, h, data); err != nil {
			return err
		}
		if s.end != nil && s.end.Seq >= h.first && s.end.Seq <= h.last {
			c.report.Ends[s.name] = witness.End{Created: s.end.Created, Seq: s.end.Seq, CRC: crc}
		}
		for i := range c.report.New {
			if f := &c.report.New[i]; f.Stream == s.name && f.Lost() && f.First >= h.first && f.Last <= h.last {
				f.Accepted = true
			}
		}
	}
	s.changed = true
	return nil
}

// filler returns the frame that replaces each lost one, and its CRC.
func (s *folder) filler() (data []byte, crc uint32, err error) {
	// ef.wal.<app>.<partition>; a name of an app has no dot.
	token := strings.Split(s.want.Subjects[0], ".")
	p, err := strconv.ParseUint(token[len(token)-1], 10, 32)
	if err != nil {
		return nil, 0, err
	}
	f := frame.Frame{Header: frame.Header{App: token[len(token)-2], Partition: uint32(p), Kind: frame.Tick, Writer: frame.LostWriter, Number: 1}}
	data, err = new(frame.Encoder).Append(nil, &f, compress.None)
	return data, f.CRC, err
}

func (c *checker) fillHole(s *folder, h hole, data []byte) error {
	if err := c.dropTombstones(s, h); err != nil {
		return err
	}
	stamp := h.stamp
	if stamp == 0 {
		stamp = c.now.UnixNano()
	}
	index, fresh := h.index, h.index == 0
	if fresh {
		s.index++
		index = s.index
	}
	file := s.block(index)
	var buf []byte
	if !fresh {
		var err error
		if buf, err = readBounded(file, blockBytesMax); err != nil {
			return err
		}
	}
	b, err := newBlock(s.name, index, buf)
	if err != nil {
		return err
	}
	at := len(buf)
	b.walk(func(r *record) {
		if r.message() && r.seq == h.last+1 {
			at = r.at
		}
	}, func(damage) {})
	content := append([]byte(nil), buf[:at]...)
	for seq := h.first; seq <= h.last; seq++ {
		content = b.appendMessage(content, seq, stamp, s.want.Subjects[0], data)
	}
	content = append(content, buf[at:]...)
	if fresh {
		return writeFile(file, content)
	}
	_, err = c.replace(s.name, file, content)
	return err
}

// dropTombstones drops the records that say that a sequence of the hole was removed: the
// server would remove it again.
func (c *checker) dropTombstones(s *folder, h hole) error {
	indices, err := blocksOf(s.msgs)
	if err != nil {
		return err
	}
	for _, index := range indices {
		buf, err := readBounded(s.block(index), blockBytesMax)
		if err != nil {
			return err
		}
		b, err := newBlock(s.name, index, buf)
		if err != nil {
			return err
		}
		var kept []byte
		from := 0
		b.walk(func(r *record) {
			if r.tombstone && r.seq >= h.first && r.seq <= h.last {
				kept, from = append(kept, buf[from:r.at]...), r.at+r.size
			}
		}, func(damage) {})
		if from == 0 {
			continue
		}
		if _, err := c.replace(s.name, s.block(index), append(kept, buf[from:]...)); err != nil {
			return err
		}
	}
	return nil
}

func (s *folder) block(index uint32) string {
	return filepath.Join(s.msgs, strconv.FormatUint(uint64(index), 10)+blockSuffix)
}
