package streamfiles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	// scrubBytesPerSecond bounds what a scrub takes of the disk.
	scrubBytesPerSecond = 16 << 20
	// scrubAgain is how long a scrub waits before it reads a damaged block once more: the
	// server may have been writing.
	scrubAgain = time.Second
)

// ScrubOptions are what a scrub reports, and what it checks beyond the server's checksums.
type ScrubOptions struct {
	// Content returns, for each stream, a function that says what is wrong with a message, or "";
	// either may be nil. Records that the server has stored as they are may be wrong all the same.
	Content func(stream string) func(*Message) string
	// Found receives each damaged record. First and Last of a finding are the sequences that cannot
	// be read. Last is 0 if the stream has no record after the damaged ones.
	Found func(Finding)
	// Progress receives how many bytes were read, and how many there were when the scrub started.
	// It may be nil.
	Progress func(read, total int64)
}

// Scrub reads all records of all streams while the server runs, slowly, and changes nothing. The
// server itself notices a damaged record only when it reads the record, or when it starts. Scrub
// returns ctx's error if ctx ends first.
func Scrub(ctx context.Context, dir string, opt ScrubOptions) error {
	c := &checker{Config: Config{Dir: dir}}
	folders, err := c.folders()
	if err != nil {
		return fmt.Errorf("scrub the files of JetStream: %w", err)
	}
	scrub := &scrubbing{ScrubOptions: opt}
	for _, s := range folders {
		scrub.total += s.blockBytes()
	}
	for _, s := range folders {
		if _, err := os.Stat(filepath.Join(s.dir, keyFile)); err == nil {
			continue // encrypted
		}
		indices, err := blocksOf(s.msgs)
		if err != nil {
			return fmt.Errorf("scrub JetStream stream %s: %w", s.name, err)
		}
		var check func(*Message) string
		if opt.Content != nil {
			check = opt.Content(s.name)
		}
		scrub.last = 0
		for i := range indices {
			if err := scrub.block(ctx, s, indices[i:], check); err != nil {
				return err
			}
		}
	}
	return nil
}

// scrubbing is a scrub under way.
type scrubbing struct {
	ScrubOptions
	read, total int64
	last        uint64 // sequence of the last message of the stream's blocks so far; 0: there is none
}

// blockBytes returns the size of the blocks of a stream, as far as it is known.
func (s *folder) blockBytes() (total int64) {
	indices, _ := blocksOf(s.msgs)
	for _, index := range indices {
		if info, err := os.Stat(s.block(index)); err == nil {
			total += info.Size()
		}
	}
	return total
}

// block reads the first of the blocks that are left of a stream.
func (x *scrubbing) block(ctx context.Context, s *folder, left []uint32, check func(*Message) string) error {
	index, newest, earlier := left[0], len(left) == 1, x.last
	first, size, err := s.damagedIn(index, newest, func(m *Message) {
		x.last = m.Sequence
		if check == nil {
			return
		}
		if wrong := check(m); wrong != "" {
			x.Found(Finding{Time: time.Now().UTC(), Kind: KindDamaged, Stream: s.name, File: s.block(index), First: m.Sequence, Last: m.Sequence, What: wrong})
		}
	})
	if x.read += int64(size); x.Progress != nil {
		x.Progress(x.read, max(x.read, x.total))
	}
	if err != nil || len(first) == 0 {
		return errors.Join(err, pause(ctx, time.Duration(size)*time.Second/scrubBytesPerSecond))
	}
	if err := pause(ctx, scrubAgain); err != nil {
		return err
	}
	again, _, err := s.damagedIn(index, newest, func(*Message) {})
	if err != nil {
		return err
	}
	for _, d := range again {
		for _, before := range first {
			if d == before {
				f := Finding{
					Time: time.Now().UTC(), Kind: KindDamaged, Stream: s.name, File: s.block(index),
					First: max(d.before, earlier) + 1, What: fmt.Sprintf("damaged at byte %d: %s", d.from, d.why),
				}
				if after := s.after(d, left[1:]); after > f.First {
					f.Last = after - 1
				}
				x.Found(f)
			}
		}
	}
	return nil
}

// after returns the sequence of the first message after a damaged range, which may be in a later
// block; 0 if there is none.
func (s *folder) after(d damage, later []uint32) uint64 {
	after := d.after
	for i := 0; after == 0 && i < len(later); i++ {
		_, _, _ = s.damagedIn(later[i], false, func(m *Message) { // a block that cannot be read has no message
			if after == 0 {
				after = m.Sequence
			}
		})
	}
	return after
}

// damagedIn returns the damaged records of a block, and its size. A block that the server has
// deleted has none. Sound messages are passed to visit.
func (s *folder) damagedIn(index uint32, newest bool, visit func(*Message)) (damaged []damage, size int, err error) {
	buf, err := readBounded(s.block(index), blockBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("scrub JetStream stream %s: %w", s.name, err)
	}
	b, err := newBlock(s.name, index, buf)
	if err != nil || b.compressed() {
		return nil, len(buf), err
	}
	if s.ours {
		b.accepts = s.accepts
	}
	last, open := uint64(0), 0 // ranges from open on have no message after them yet
	b.walk(func(r *record) {
		pass(b, r, func(m *Message) {
			for ; open < len(damaged); open++ {
				damaged[open].after = m.Sequence
			}
			last = m.Sequence
			visit(m)
		})
	}, func(d damage) {
		if !d.torn || !newest {
			d.before = last
			damaged = append(damaged, d)
		}
	})
	return damaged, len(buf), nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// IsLog reports whether a stream is the log of a partition.
func IsLog(stream string) bool {
	cfg, ok := natsconn.StreamConfigOf(stream, natsconn.StreamLimits{})
	return ok && cfg.DenyDelete
}
