package streamfiles

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/witness"
)

const (
	blockSuffix = ".blk"
	indexFile   = "index.db"
	keyFile     = "meta.key"
	// newMessages is where the server collects what is left of a stream that it purges.
	newMessages = "__new_msgs__"
)

// folder is a stream's.
type folder struct {
	name, dir, msgs string
	log             bool // of events: its sequences follow one another, and it has a witness
	ours            bool
	results         bool                   // of results
	want            jetstream.StreamConfig // of one that is ours

	made  time.Time // as its settings say
	first uint64    // the first sequence that is there; 0: none
	last  uint64    // the last sequence of a message
	used  uint64    // the last sequence that was used
	stamp int64     // of the last message
	index uint32    // of the last block
	gaps  []hole
	open  []int // findings with no later message so far

	end     *witness.End
	endSeen bool
	endCRC  uint32
	holes   []hole
	changed bool // a block is not what the server's index says
}

// hole is a range of sequences that are missing.
type hole struct {
	first, last uint64
	stamp       int64  // of the message before
	index       uint32 // of the block that has the message after; 0: there is none
}

func (c *checker) newFolder(account, name string) *folder {
	s := &folder{name: name, dir: filepath.Join(c.Dir, "jetstream", account, "streams", name)}
	s.msgs = filepath.Join(s.dir, "msgs")
	s.want, s.ours = natsconn.StreamConfigOf(name, c.Limits)
	s.log = s.ours && s.want.DenyDelete
	s.results = s.ours && s.want.AllowAtomicPublish
	if end, ok := c.Ends[name]; ok && s.log {
		s.end = &end
	}
	return s
}

func (c *checker) checkStream(s *folder) error {
	if _, err := os.Stat(filepath.Join(s.dir, keyFile)); err == nil {
		return nil // encrypted by an operator's server
	}
	if _, err := os.Stat(filepath.Join(s.dir, newMessages)); err == nil {
		s.changed = true // the server completes a purge, and reads the blocks again
		s.msgs = firstThat(hasBlocks, filepath.Join(s.dir, newMessages), s.msgs)
	}
	serve, err := c.checkMeta(s)
	if err != nil || !serve {
		return err
	}
	if err := c.checkConsumers(s); err != nil {
		return err
	}
	if err := c.checkBatches(s); err != nil {
		return err
	}
	if err := c.checkBlocks(s); err != nil {
		return err
	}
	if err := c.checkEnd(s); err != nil {
		return err
	}
	if c.AcceptLoss && s.log {
		if err := c.fill(s); err != nil {
			return err
		}
	}
	if !s.changed {
		return nil
	}
	// The index tells how many messages each block has.
	if err := os.Remove(filepath.Join(s.msgs, indexFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(s.msgs)
}

func firstThat(is func(string) bool, one, other string) string {
	if is(one) {
		return one
	}
	return other
}

func hasBlocks(dir string) bool {
	indices, err := blocksOf(dir)
	return err == nil && len(indices) > 0
}

// blocksOf returns the indices of a stream's blocks, in order.
func blocksOf(dir string) (indices []uint32, err error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		number, ok := strings.CutSuffix(n.Name(), blockSuffix)
		if i, err := strconv.ParseUint(number, 10, 32); ok && err == nil && n.Type().IsRegular() {
			indices = append(indices, uint32(i))
		}
	}
	slices.Sort(indices)
	return indices, nil
}

// checkBlocks reads all records of a stream.
func (c *checker) checkBlocks(s *folder) error {
	indices, err := blocksOf(s.msgs)
	if err != nil {
		return err
	}
	for i, index := range indices {
		s.index = index
		if c.Within > 0 && !s.log && time.Since(c.now) > c.Within {
			c.report.Unread = append(c.report.Unread, s.name)
			return nil
		}
		if err := c.checkBlock(s, index, i == len(indices)-1); err != nil {
			return err
		}
	}
	if s.log {
		for _, g := range s.gaps {
			c.found(Finding{Kind: KindGap, Stream: s.name, First: g.first, Last: g.last, What: "the log has a hole"})
		}
	}
	return nil
}

func (c *checker) checkBlock(s *folder, index uint32, newest bool) error {
	file := s.block(index)
	buf, err := readBounded(file, blockBytesMax)
	if err != nil {
		return fmt.Errorf("JetStream stream %s: %w", s.name, err)
	}
	b, err := newBlock(s.name, index, buf)
	if err != nil {
		return err
	}
	if b.compressed() {
		return nil
	}
	if s.ours {
		b.accepts = s.accepts
	}
	var good []byte // what stays, if anything goes
	kept, from := 0, len(c.report.New)
	b.walk(func(r *record) {
		before := s.last
		if s.visit(r) {
			c.closeDamage(s, before, r.seq)
		}
	}, func(d damage) {
		// A crash can leave part of a record that was never acknowledged. The server cuts it
		// off.
		if d.torn && newest && (s.end == nil || s.end.Seq <= s.used) {
			return
		}
		good, kept = append(good, buf[kept:d.from]...), d.to
		s.open = append(s.open, len(c.report.New))
		c.found(Finding{Kind: KindRecord, Stream: s.name, File: file, What: fmt.Sprintf("damaged at byte %d: %s", d.from, d.why)})
	})
	if len(c.report.New) == from {
		return nil
	}
	s.changed = true
	original, err := c.replace(s.name, file, append(good, buf[kept:]...))
	for i := from; i < len(c.report.New); i++ {
		c.report.New[i].Original = original
	}
	return err
}

// closeDamage tells which sequences are missing, once the next message is found.
func (c *checker) closeDamage(s *folder, before, next uint64) {
	for _, i := range s.open {
		if before > 0 && next > before+1 {
			c.report.New[i].First, c.report.New[i].Last = before+1, next-1
		}
	}
	if n := len(s.gaps); len(s.open) > 0 && n > 0 && s.gaps[n-1].last == next-1 {
		s.gaps = s.gaps[:n-1] // that hole is explained
	}
	s.open = s.open[:0]
}

// visit takes in a valid record, and reports whether it is a message that comes next.
func (s *folder) visit(r *record) bool {
	s.used = max(s.used, r.seq)
	if !r.message() || r.seq <= s.last {
		return false
	}
	if s.last > 0 && r.seq > s.last+1 {
		h := hole{s.last + 1, r.seq - 1, s.stamp, s.index}
		s.gaps, s.holes = append(s.gaps, h), append(s.holes, h)
	}
	if s.first == 0 {
		s.first = r.seq
	}
	s.last, s.stamp = r.seq, r.stamp
	if s.end != nil && r.seq == s.end.Seq {
		s.endSeen, s.endCRC = true, frame.CRC(r.data)
	}
	return true
}

// streamHeader is in the header of a result whose subject the app has streamHeader.
var streamHeader = []byte("\r\n" + output.HeaderStream + ": ")

// accepts reports whether a message of the stream can have a subject with a header. An app can
// choose any subject for its results; their header tells, also if the settings of the stream are
// lost.
func (s *folder) accepts(subject, header []byte) bool {
	if s.results && bytes.Contains(header, streamHeader) {
		return true
	}
	accepts := func(pattern string) bool { return matches(pattern, subject) }
	return slices.ContainsFunc(s.want.Subjects, accepts) || s.log &&
		(slices.ContainsFunc(natsconn.ClosedWALConfig(s.want).Subjects, accepts) || accepts(s.want.Subjects[0]+".*")) // the app may have been scaled
}

func matches(pattern string, subject []byte) bool {
	for {
		token, more, _ := strings.Cut(pattern, ".")
		if token == ">" {
			return len(subject) > 0
		}
		have, rest, deeper := bytes.Cut(subject, []byte("."))
		if token != "*" && token != string(have) || len(have) == 0 {
			return false
		}
		if more == "" || !deeper {
			return more == "" && !deeper
		}
		pattern, subject = more, rest
	}
}

// checkEnd compares the end of a log with the last frame that was acknowledged.
func (c *checker) checkEnd(s *folder) error {
	e := s.end
	switch {
	case e == nil || e.Seq == 0:
		return nil
	case !s.made.IsZero() && e.Created.Before(s.made):
		return nil // the app was removed, and deployed again
	case !s.made.IsZero() && e.Created.After(s.made):
		return c.accept(s, &OtherLogError{s.name, fmt.Sprintf("it was made %s, and the log was made %s", s.made.Format(time.RFC3339Nano), e.Created.Format(time.RFC3339Nano))})
	case s.endSeen && s.endCRC != e.CRC:
		return c.accept(s, &OtherLogError{s.name, fmt.Sprintf("frame %d has CRC %08x, and %08x was acknowledged", e.Seq, s.endCRC, e.CRC)})
	case e.Seq <= s.used:
		return nil
	}
	f := Finding{Kind: KindEnd, Stream: s.name, First: s.used + 1, Last: e.Seq, What: fmt.Sprintf("the log ends at %d, and frame %d was acknowledged: it lost its end", s.used, e.Seq)}
	if c.MayLose && e.Boot != 0 && c.Boot != 0 && e.Boot != c.Boot {
		f.What += ", which a power failure may take under this wal.durability; its sequences are used again"
		f.First, f.Last = 0, 0
		c.found(f)
		c.report.Ends[s.name] = witness.End{Created: e.Created, Seq: s.used}
		return nil
	}
	s.changed = true
	if !c.AcceptLoss {
		if err := c.addTombstone(s, e.Seq); err != nil {
			return err
		}
	}
	s.used = e.Seq
	c.found(f)
	return nil
}

// accept refuses another log, unless the operator accepts it as the log.
func (c *checker) accept(s *folder, err *OtherLogError) error {
	if !c.Rebuild {
		return err
	}
	c.found(Finding{Kind: KindEnd, Stream: s.name, What: "the log as it is was accepted: " + err.Difference})
	c.report.Ends[s.name] = witness.End{Created: s.made, Seq: s.used}
	return nil
}

// checkBatches looks at the messages of an atomic batch that was not complete. The server
// completes it; if it is damaged, the sender does.
func (c *checker) checkBatches(s *folder) error {
	dir := filepath.Join(s.dir, "batches")
	batches, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, batch := range batches {
		if why := damagedBatch(filepath.Join(dir, batch.Name(), "msgs"), batch.Name()); why != "" {
			original, err := c.setAside(s.name, filepath.Join(dir, batch.Name()))
			if err != nil {
				return err
			}
			c.found(Finding{Kind: KindRecord, Stream: s.name, File: filepath.Join(dir, batch.Name()), Original: original, What: "a batch that was not complete is damaged: " + why})
		}
	}
	return nil
}

func damagedBatch(msgs, name string) (why string) {
	indices, err := blocksOf(msgs)
	if err != nil {
		return err.Error()
	}
	for _, index := range indices {
		buf, err := readBounded(filepath.Join(msgs, strconv.FormatUint(uint64(index), 10)+blockSuffix), blockBytesMax)
		if err != nil {
			return err.Error()
		}
		b, err := newBlock(name, index, buf)
		if err != nil {
			return err.Error()
		}
		b.walk(func(*record) {}, func(d damage) {
			if !d.torn {
				why = d.why
			}
		})
	}
	return why
}
