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

// Scrub reads all records of all streams while the server runs, slowly, and changes nothing.
// It calls found with each damaged record. The server itself notices one only when it reads
// the record, or when it starts. Scrub returns ctx's error if ctx ends first.
//
// Records that the server has stored as they are may be wrong all the same. For each stream,
// content returns a function that says what is wrong with a message, or ""; either may be nil.
func Scrub(ctx context.Context, dir string, content func(stream string) func(*Message) string, found func(Finding)) error {
	c := &checker{Config: Config{Dir: dir}}
	folders, err := c.folders()
	if err != nil {
		return fmt.Errorf("scrub the files of JetStream: %w", err)
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
		if content != nil {
			check = content(s.name)
		}
		for i, index := range indices {
			if err := s.scrubBlock(ctx, index, i == len(indices)-1, check, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *folder) scrubBlock(ctx context.Context, index uint32, newest bool, check func(*Message) string, found func(Finding)) error {
	first, size, err := s.damagedIn(index, newest, func(m *Message) {
		if check == nil {
			return
		}
		if wrong := check(m); wrong != "" {
			found(Finding{Time: time.Now().UTC(), Kind: KindRecord, Stream: s.name, File: s.block(index), What: fmt.Sprintf("sequence %d: %s", m.Sequence, wrong)})
		}
	})
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
					Time: time.Now().UTC(), Kind: KindRecord, Stream: s.name, File: s.block(index),
					What: fmt.Sprintf("damaged at byte %d: %s", d.from, d.why),
				}
				found(f)
			}
		}
	}
	return nil
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
	b.walk(func(r *record) { pass(b, r, visit) }, func(d damage) {
		if !d.torn || !newest {
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
