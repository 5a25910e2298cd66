package ingest

import (
	"sync"
	"time"
)

// backlogFramesMax bounds the memory of a backlog. If its task lags by more frames, the number of
// applied events is less exact, and too low.
const backlogFramesMax = 1024

// backlog counts the events that this process has written to a log and that the task of the
// log has not applied.
type backlog struct {
	mu      sync.Mutex
	applied written   // the newest frame of this process that the task has applied
	frames  []written // frames after it, in the order of the log
}

// written is a frame that this process has written.
type written struct {
	seq    uint64
	events uint64 // written up to and including this frame, since the process started
	at     time.Time
}

// wrote adds a frame that is in the log.
func (b *backlog) wrote(seq uint64, events int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.frames) == backlogFramesMax { // drop every second frame, but never the last
		for i := range backlogFramesMax / 2 {
			at := b.frames[2*i].at
			b.frames[i] = b.frames[2*i+1]
			b.frames[i].at = at
		}
		b.frames = b.frames[:backlogFramesMax/2]
	}
	b.frames = append(b.frames, written{seq, b.last().events + uint64(events), time.Now()})
}

// waiting returns how many events are not applied once the task has applied the log up to
// a sequence, and the last sequence that this process has written.
func (b *backlog) waiting(applied uint64) (events, end uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(b.frames) && b.frames[n].seq <= applied {
		n++
	}
	if n > 0 {
		b.applied = b.frames[n-1]
		b.frames = append(b.frames[:0], b.frames[n:]...)
	}
	last := b.last()
	return last.events - b.applied.events, last.seq
}

// age returns how long the oldest event that is not applied has been in the log; 0 if there is
// none. It relies on the last call of waiting.
func (b *backlog) age(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.frames) == 0 {
		return 0
	}
	return now.Sub(b.frames[0].at)
}

func (b *backlog) last() written {
	if n := len(b.frames); n > 0 {
		return b.frames[n-1]
	}
	return b.applied
}
