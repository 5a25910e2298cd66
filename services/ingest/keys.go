package ingest

import (
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// letters encodes attributes as a string, which can be compared.
func letters(attrs []int) string {
	letters := make([]rune, len(attrs))
	for i, a := range attrs {
		letters[i] = rune(a)
	}
	return string(letters)
}

// idBytesMax is the limit of a message id's length: tasks keep ids in the same way as keys.
const idBytesMax = 4 << 10

// keyMaxOf returns the longest text that may be a key in an app.
func keyMaxOf(a App) int {
	return int(engine.Limits{KeyBytes: a.KeyBytesMax}.OrDefault().KeyBytes)
}

// dedupDefault is how long tasks remember message ids if the app does not say.
const dedupDefault = 2 * time.Minute

// dedupOf returns how long tasks of an app remember message ids, in ms.
func dedupOf(a App) int64 {
	if a.DedupWindow > 0 {
		return a.DedupWindow
	}
	return dedupDefault.Milliseconds()
}

// keysFit refuses the last row of b if one of its texts is too long to be a key in the app:
// the task would halt.
func (r *reader) keysFit(b *event.Batch) *rowjson.RowError {
	row := b.Len() - 1
	for _, a := range r.keys {
		if n := b.Cols[a].TextBytes(row); n > r.keyMax {
			return &rowjson.RowError{
				Problem: rowjson.OutOfRange, Attr: b.Schema.Attrs[a].Name,
				Expected: fmt.Sprintf("at most %d bytes, because it is a key (limits.key_bytes_max)", r.keyMax), Found: fmt.Sprintf("%d bytes", n),
			}
		}
	}
	return nil
}
