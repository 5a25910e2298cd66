package witness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// syncEvery is how often records go to the disk. A killed process loses none, since the
// system has them; a power failure loses those of this span.
const syncEvery = time.Second

// Folder has the witness of each log, a file for each. Its methods may be called
// concurrently. A nil Folder keeps nothing.
type Folder struct {
	dir  string
	boot uint64

	mu   sync.Mutex
	logs map[string]*Log
}

// Open opens a folder, and creates it if it is missing.
func Open(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("witness of the logs: %w", err)
	}
	return &Folder{dir: dir, boot: Boot(), logs: map[string]*Log{}}, nil
}

// Ends returns the record of every log. damaged has the logs whose file cannot be read, with
// the reason.
func (f *Folder) Ends() (ends map[string]End, damaged map[string]error, err error) {
	names, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("witness of the logs: %w", err)
	}
	ends, damaged = map[string]End{}, map[string]error{}
	for _, n := range names {
		stream := n.Name()
		if n.IsDir() || strings.HasPrefix(stream, ".") {
			continue
		}
		e, _, err := f.read(stream)
		switch {
		case errors.Is(err, ErrCorrupt):
			damaged[stream] = fmt.Errorf("%s: %w", f.file(stream), err)
		case err != nil:
			return nil, nil, fmt.Errorf("%s: %w", f.file(stream), err)
		default:
			ends[stream] = e
		}
	}
	return ends, damaged, nil
}

func (f *Folder) file(stream string) string { return filepath.Join(f.dir, stream) }

func (f *Folder) read(stream string) (End, uint64, error) {
	data, err := os.ReadFile(f.file(stream))
	if err != nil {
		return End{}, 0, err
	}
	return decode(stream, data)
}

// Log returns the witness of a log whose JetStream stream the server made at created. What
// the folder has of another stream of that name, or what is damaged, is replaced with the
// first record.
func (f *Folder) Log(stream string, created time.Time) (*Log, error) {
	if f == nil {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.logs[stream]; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.end.Created.Equal(created) {
			l.end = End{Created: created, Boot: f.boot}
		}
		return l, nil
	}
	e, turn, err := f.read(stream)
	if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", f.file(stream), err)
	}
	if !e.Created.Equal(created) {
		e = End{Created: created}
	}
	e.Boot = f.boot
	file, err := os.OpenFile(f.file(stream), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("witness of log %s: %w", stream, err)
	}
	l := &Log{stream: stream, name: nameSum(stream), file: file, end: e, turn: turn}
	f.logs[stream] = l
	return l, nil
}

// Set replaces the record of a log, or writes its first, and makes it durable.
func (f *Folder) Set(stream string, e End) error {
	l, err := f.Log(stream, e.Created)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Boot = f.boot
	l.end = e
	if err := l.write(); err != nil {
		return err
	}
	return l.sync()
}

// Remove forgets a log that is deleted.
func (f *Folder) Remove(stream string) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.logs[stream]; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(f.logs, stream)
		l.dirty = false
		if err := l.file.Close(); err != nil {
			return fmt.Errorf("witness of log %s: %w", stream, err)
		}
		l.file = nil
	}
	if err := os.Remove(f.file(stream)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("witness of log %s: %w", stream, err)
	}
	return nil
}

// Run writes the records to the disk once per second until ctx ends. It calls failed once when
// the disk refuses them, and not again before the disk has accepted them.
func (f *Folder) Run(ctx context.Context, failed func(error)) {
	told := false
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			err := f.Sync()
			if err != nil && !told {
				failed(err)
			}
			told = err != nil
		case <-ctx.Done():
			return
		}
	}
}

// Sync makes all records durable.
func (f *Folder) Sync() error {
	f.mu.Lock()
	var logs []*Log
	for _, l := range f.logs {
		logs = append(logs, l)
	}
	f.mu.Unlock()
	var errs []error
	for _, l := range logs {
		l.mu.Lock()
		errs = append(errs, l.sync())
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Close makes all records durable and closes their files.
func (f *Folder) Close() error {
	if f == nil {
		return nil
	}
	err := f.Sync()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, l := range f.logs {
		l.mu.Lock()
		err = errors.Join(err, l.file.Close())
		l.file = nil
		l.mu.Unlock()
		delete(f.logs, name)
	}
	return err
}

// Log is the witness of one log. Its methods may be called concurrently. A nil Log keeps
// nothing.
type Log struct {
	stream string
	name   uint32 // its sum

	mu    sync.Mutex
	file  *os.File // nil: closed or removed
	end   End
	turn  uint64
	dirty bool
	err   error
	buf   [recordBytes]byte
}

// Record notes that the server has acknowledged a frame. On return the system has it, so
// that it outlives the process; Folder.Run brings it to the disk. A frame before the
// recorded one changes nothing: several writers append to a log. Call it before the
// acknowledgement is passed on. An error stays until a record is written again.
func (l *Log) Record(seq uint64, crc uint32) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq <= l.end.Seq || l.file == nil {
		return l.err
	}
	l.end.Seq, l.end.CRC = seq, crc
	l.err = l.write()
	return l.err
}

// End returns what is recorded.
func (l *Log) End() End {
	if l == nil {
		return End{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (l *Log) write() error {
	l.turn++
	encode(&l.buf, l.name, l.turn, &l.end)
	at := int64(l.turn%2) * sectorBytes
	if _, err := l.file.WriteAt(l.buf[:], at); err != nil {
		return fmt.Errorf("witness of log %s: %w", l.stream, err)
	}
	if l.turn == 1 || !l.dirty {
		if err := l.fill(); err != nil {
			return err
		}
	}
	l.dirty = true
	return nil
}

// fill gives the file its full size.
func (l *Log) fill() error {
	info, err := l.file.Stat()
	if err == nil && info.Size() != fileBytes {
		err = l.file.Truncate(fileBytes)
	}
	if err != nil {
		return fmt.Errorf("witness of log %s: %w", l.stream, err)
	}
	return nil
}

func (l *Log) sync() error {
	if !l.dirty || l.file == nil {
		return nil
	}
	l.dirty = false
	if err := l.file.Sync(); err != nil {
		l.dirty = true
		return fmt.Errorf("witness of log %s: sync: %w", l.stream, err)
	}
	return nil
}
