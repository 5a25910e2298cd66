package processor

import (
	"fmt"
	"time"
)

// measureEvery is how often the memory of the state is estimated while frames are applied.
// An estimate takes some ten microseconds: sources sample their content.
const measureEvery = 200 * time.Millisecond

// A task that was over its limit accepts events again when it is below it by one part in
// reliefShare. So publishers are not accepted and refused by turns.
const reliefShare = 20

func (t *task) measureSoon() {
	if time.Since(t.measured) >= measureEvery {
		t.measure()
	}
}

// measure estimates the memory that the state takes.
func (t *task) measure() {
	if t.saver == nil {
		return
	}
	bytes := int64(0)
	for _, h := range t.saver.holders {
		bytes += h.Bytes()
	}
	t.sized(bytes)
}

// sized records the memory of the state. Above the limit, ingest refuses events for the
// partition. The task still applies the log, because the time that passes there may make the
// state smaller.
func (t *task) sized(bytes int64) {
	t.measured = time.Now()
	t.status.bytes.Store(bytes)
	limit := t.service.cfg.StateBytesMax
	over := t.status.over.Load() != nil
	switch {
	case limit > 0 && bytes > limit && !over:
		why := fmt.Sprintf("its state takes more than %d bytes of memory (processor.state_bytes_max)", limit)
		if t.live.Playback && t.live.Idle == 0 {
			why += "; without events its clock stands still, so that its windows get no smaller: raise the setting and restart the processor"
		}
		t.status.setOver(why)
		t.log.Error("task is over its limit; its publishers get an error, and other tasks go on", "bytes", bytes, "limit", limit)
	case over && (limit == 0 || bytes <= limit-limit/reliefShare):
		t.status.setOver("")
		t.log.Info("task is below its limit again and takes events", "bytes", bytes, "limit", limit)
	}
}
