package processor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/eventflux/eventflux/shared/control"
)

// workFile records which frames the tasks of a process are applying, so that the next process
// knows if a frame killed this one. It is never synced, because it has to survive the process
// but not the machine. It has one slot for each task:
//
//	magic, version, length of the JSON (2 bytes), JSON of the slot's task, zeros;
//	the last 12 bytes: log sequence or 0, CRC32C of the slot before
//
// All numbers are little-endian. The first slot has the process instead of a task. Incomplete
// slots are ignored: then the machine has failed too, and no frame is to blame.
type workFile struct {
	mu    sync.Mutex
	file  *os.File
	slots map[slot]int // the slot number of each task
	free  []int
	next  int
	work  map[int][]byte // the slots as written in the file
}

const (
	workMagic   = "EFWK"
	workVersion = 1
	workSlot    = 512 // bytes
	workTail    = 12
	workHead    = len(workMagic) + 1 + 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// workEntry is the JSON of a slot.
type workEntry struct {
	Incarnation string `json:"incarnation,omitempty"` // of the first slot
	App         string `json:"app,omitempty"`
	Index       uint64 `json:"index,omitempty"`
	Partition   uint32 `json:"partition"`
}

// readWork returns the frames that the process that wrote the file was applying when it died;
// nil if there is no file, or there were no such frames.
func readWork(path string) (*control.Died, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var died control.Died
	for n := 0; len(data) >= workSlot; n, data = n+1, data[workSlot:] {
		e, seq, ok := readSlot(data[:workSlot])
		switch {
		case !ok:
		case n == 0:
			died.Incarnation = e.Incarnation
		case seq > 0:
			died.Frames = append(died.Frames, control.AtWork{App: e.App, Index: e.Index, Partition: e.Partition, Sequence: seq})
		}
	}
	if died.Incarnation == "" || len(died.Frames) == 0 {
		return nil, nil
	}
	return &died, nil
}

func readSlot(data []byte) (e workEntry, seq uint64, ok bool) {
	end := len(data) - 4
	if string(data[:len(workMagic)]) != workMagic || data[len(workMagic)] != workVersion ||
		binary.LittleEndian.Uint32(data[end:]) != crc32.Checksum(data[:end], castagnoli) {
		return e, 0, false
	}
	n := int(binary.LittleEndian.Uint16(data[workHead-2:]))
	if n > workSlot-workHead-workTail || json.Unmarshal(data[workHead:workHead+n], &e) != nil {
		return e, 0, false
	}
	return e, binary.LittleEndian.Uint64(data[workSlot-workTail:]), true
}

// openWork creates the file, and replaces an older one.
func openWork(path, incarnation string) (*workFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	w := &workFile{file: file, slots: map[slot]int{}, next: 1, work: map[int][]byte{}}
	if err := w.write(0, workEntry{Incarnation: incarnation}); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *workFile) write(n int, e workEntry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	data := make([]byte, workSlot)
	if len(text) > workSlot-workHead-workTail {
		return fmt.Errorf("the name of app %.100q is too long for the file", e.App)
	}
	copy(data, workMagic)
	data[len(workMagic)] = workVersion
	binary.LittleEndian.PutUint16(data[workHead-2:], uint16(len(text)))
	copy(data[workHead:], text)
	w.work[n] = data
	if _, err := w.file.WriteAt(data, int64(n)*workSlot); err != nil {
		return err
	}
	return w.record(n, 0)
}

// record writes which frame the task of a slot applies; 0 for none.
func (w *workFile) record(n int, seq uint64) error {
	data := w.work[n]
	tail := data[workSlot-workTail:]
	binary.LittleEndian.PutUint64(tail, seq)
	binary.LittleEndian.PutUint32(tail[8:], crc32.Checksum(data[:workSlot-4], castagnoli))
	_, err := w.file.WriteAt(tail, int64(n+1)*workSlot-workTail)
	return err
}

// add gives a task a slot.
func (w *workFile) add(as control.Assigned) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.next
	if last := len(w.free) - 1; last >= 0 {
		n, w.free = w.free[last], w.free[:last]
	} else {
		w.next++
	}
	w.slots[slot{as.App, as.Partition}] = n
	return w.write(n, workEntry{App: as.App, Index: as.Index, Partition: as.Partition})
}

// remove frees a slot.
func (w *workFile) remove(s slot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.slots[s]
	if !ok {
		return nil
	}
	delete(w.slots, s)
	w.free = append(w.free, n)
	return w.record(n, 0)
}

// set records which frame a task applies; 0 for none.
func (w *workFile) set(s slot, seq uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, ok := w.slots[s]; ok {
		return w.record(n, seq)
	}
	return nil
}

// close removes the file of a process that ends normally.
func (w *workFile) close() error {
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}

// readWork reads which frames an earlier process was applying when it died.
func (s *Service) readWork() {
	if s.cfg.Work == "" || s.cfg.Control == nil {
		return
	}
	died, err := readWork(s.cfg.Work)
	if err != nil {
		s.cfg.Log.Warn("it is not known which frames an earlier process was applying when it ended", "file", s.cfg.Work, "err", err)
	}
	s.died = died
}

// openWork starts to record the frames of this process, once the checkpointer knows the
// frames of the earlier one.
func (s *Service) openWork() {
	s.died = nil
	if s.cfg.Work == "" || s.work != nil || s.workFailed.Load() {
		return
	}
	work, err := openWork(s.cfg.Work, s.incarnation)
	if err != nil {
		s.logWorkError(err)
		return
	}
	s.work = work
}

// logWorkError logs once that the file cannot be written. Tasks continue, but if a frame
// kills the process, it is not blamed.
func (s *Service) logWorkError(err error) {
	if err == nil || s.workFailed.Swap(true) {
		return
	}
	s.cfg.Log.Warn("the frames that tasks apply cannot be recorded, so a frame that kills the process is not put into quarantine", "file", s.cfg.Work, "err", err)
}

// closeWork ends the file. All tasks have ended.
func (s *Service) closeWork() {
	if s.work != nil {
		s.logWorkError(s.work.close())
	}
}

// working records that a task applies a frame, until the returned function is called. A
// suspected frame is applied while no other is, so that a death has only one possible cause.
func (s *Service) working(t *task, seq uint64) (done func()) {
	unlock := s.frames.RUnlock
	if t.suspect.Load() == seq {
		s.frames.Lock()
		unlock = s.frames.Unlock
	} else {
		s.frames.RLock()
	}
	if s.work == nil {
		return unlock
	}
	at := slot{t.plan.Name, t.partition}
	s.logWorkError(s.work.set(at, seq))
	return func() {
		s.logWorkError(s.work.set(at, 0))
		unlock()
	}
}
