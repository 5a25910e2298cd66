package streamfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Message is a message as a block on the disk has it. Its slices are valid during the call
// that gets it.
type Message struct {
	Sequence     uint64
	Time         time.Time // when the server stored it
	Subject      string
	Header, Data []byte // Header is in the form of NATS, and nil if there is none
}

// Messages calls visit with each message of a stream in the data folder dir of a NATS server,
// in the order of the files, and damaged with each range of bytes that holds no valid record.
// It only reads. While a server runs, the last record may be half written.
func Messages(dir, stream string, visit func(*Message), damaged func(file string, from, to int, why string)) error {
	c := &checker{Config: Config{Dir: dir}}
	folders, err := c.folders()
	if err != nil {
		return fmt.Errorf("read the files of JetStream: %w", err)
	}
	i := slices.IndexFunc(folders, func(s *folder) bool { return s.name == stream })
	if i < 0 {
		return fmt.Errorf("%s has no stream %s", filepath.Join(dir, "jetstream"), stream)
	}
	s := folders[i]
	if _, err := os.Stat(filepath.Join(s.dir, keyFile)); err == nil {
		return fmt.Errorf("stream %s is encrypted by its server", stream)
	}
	indices, err := blocksOf(s.msgs)
	if err != nil {
		return err
	}
	for _, index := range indices {
		if err := s.messages(index, visit, damaged); err != nil {
			return err
		}
	}
	return nil
}

func (s *folder) messages(index uint32, visit func(*Message), damaged func(string, int, int, string)) error {
	file := s.block(index)
	buf, err := readBounded(file, blockBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the server has trimmed it since
	}
	if err != nil {
		return err
	}
	b, err := newBlock(s.name, index, buf)
	if err != nil {
		return err
	}
	if b.compressed() {
		return fmt.Errorf("%s is compressed by its server", file)
	}
	b.walk(func(r *record) { pass(b, r, visit) }, func(d damage) { damaged(file, d.from, d.to, d.why) })
	return nil
}

// pass passes a record on if it is a message.
func pass(b *block, r *record, visit func(*Message)) {
	if r.message() {
		visit(&Message{Sequence: r.seq, Time: time.Unix(0, r.stamp).UTC(), Subject: string(r.subject), Header: headerOf(b.buf, r), Data: r.data})
	}
}

// headerOf returns the header of a record, which lies between its subject and its data.
func headerOf(buf []byte, r *record) []byte {
	data := r.at + r.size - hashBytes - len(r.data)
	header := buf[r.at+headBytes+len(r.subject) : data]
	if len(header) == 0 {
		return nil
	}
	return header[4:] // its length comes first
}
