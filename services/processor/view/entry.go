package view

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/output"
)

const (
	headerOperation = "KV-Operation"
	headerMarker    = "Nats-Marker-Reason" // of a delete that the server has written
	operationDelete = "DEL"
)

// writer is the value of output.HeaderView: the view that has written, and its output stream.
// docs/formats/view.md describes it.
type writer struct {
	App, Stream string
	Partition   uint32
	Created     int64  // when the output stream was created, ns since the Unix epoch
	Version     uint64 // of the app
	Digest      string // of the view's definition
}

func (w *writer) String() string {
	return fmt.Sprintf("%s %s %d %d %d %s", w.App, w.Stream, w.Partition, w.Created, w.Version, w.Digest)
}

// parseWriter reads what String writes; false for the values of others.
func parseWriter(text string) (w writer, ok bool) {
	f := strings.Fields(text)
	if len(f) < 6 {
		return w, false
	}
	p, err1 := strconv.ParseUint(f[2], 10, 32)
	created, err2 := strconv.ParseInt(f[3], 10, 64)
	version, err3 := strconv.ParseUint(f[4], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return w, false
	}
	return writer{f[0], f[1], uint32(p), created, version, f[5]}, true
}

// entry is what the bucket has of a key.
type entry struct {
	revision uint64 // 0: nothing
	ours     bool   // of this app
	by       writer
	at       result.Position // zero: of a sweep
	deleted  bool
}

// readEntry reads the headers of a value. Its position came from a server, so anything may be
// in it: a value that cannot be read is somebody else's.
func readEntry(revision uint64, h nats.Header, app string) entry {
	e := entry{revision: revision, deleted: h.Get(headerOperation) != "" || h.Get(headerMarker) != ""}
	by, ok := parseWriter(h.Get(output.HeaderView))
	if !ok || by.App != app {
		return e
	}
	if text := h.Get(output.HeaderGeneration) + ":" + h.Get(output.HeaderPosition); text != "0:0.0" {
		at, err := result.Parse(text)
		if err != nil {
			return e
		}
		e.at = at
	}
	e.ours, e.by = true, by
	return e
}

// foreign reports whether somebody else has written the value. The server's own markers do not
// count.
func (e *entry) foreign(h nats.Header) bool {
	return e.revision > 0 && !e.ours && h.Get(headerMarker) == ""
}

// newerError says that another process keeps the view for a newer version of the app, or a newer
// output stream.
type newerError struct{ by writer }

func (e *newerError) Error() string {
	return fmt.Sprintf("another process keeps the view, as version %d of app %s has it", e.by.Version, e.by.App)
}

// outdated returns an error if the value shows that this process is no longer the one to write.
func (e *entry) outdated(me *writer) error {
	if e.ours && (e.by.Created > me.Created || e.by.Created == me.Created && e.by.Version > me.Version) {
		return &newerError{e.by}
	}
	return nil
}

// same reports whether the value is one of this view, as it is defined now.
func (e *entry) same(me *writer) bool {
	return e.ours && e.by.Stream == me.Stream && e.by.Partition == me.Partition && e.by.Created == me.Created && e.by.Digest == me.Digest
}

// cut is the first result of a generation. It voids the results of earlier ones from there on.
type cut = result.Position

// voidedBy returns the newest cut that voids a position; zero for none.
func voidedBy(cuts []cut, at result.Position) (by cut) {
	for _, c := range cuts {
		if c.Generation > at.Generation && !before(at, c) {
			by = c
		}
	}
	return by
}

// before compares positions of the log, whatever their generations.
func before(a, b result.Position) bool {
	return a.Seq < b.Seq || a.Seq == b.Seq && a.Ordinal < b.Ordinal
}
