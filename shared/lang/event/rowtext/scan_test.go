package rowtext

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// TestScannedRecords: records that are scanned are those that encoding/csv reads, and so are the
// errors.
func TestScannedRecords(t *testing.T) {
	pieces := []string{"a", "1", "-2.5", "ä", ",", ",", ";", "€", "\n", "\r\n", "\r", `"`, `"`, `""`, `"b"`, `,"x,y",`, " ", "user,amount\n", "true"}
	for _, m := range []*Mapping{comma(CSV{}), comma(CSV{Header: true}), optional(comma(CSV{Columns: []int{3, 0}})), {CSV: &CSV{Delimiter: ';'}}, {CSV: &CSV{Delimiter: '€', Header: true}}} {
		rapid.Check(t, func(t *rapid.T) {
			payload := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 30).Draw(t, "payload"), ""))
			fast, slow := New(orders, m), New(orders, m)
			a, b := event.NewBatch(orders), event.NewBatch(orders)
			_, refused := fast.Rows(a, payload, 1)
			slow.headed = !m.CSV.Header
			slow.read(b, payload, 0, 1)
			if slow.rows == 0 {
				slow.refuse(0, len(payload), slow.empty())
			}
			if got, want := all(a, refused), all(b, slow.refusals); got != want || fast.Ignored() != slow.Ignored() {
				t.Fatalf("%q: scanned\n%s\nread\n%s", payload, got, want)
			}
		})
	}
}

func all(b *event.Batch, refused []rowjson.Refused) string {
	var text strings.Builder
	for i := range b.Len() {
		fmt.Fprintf(&text, "%s\n", rowjson.AppendArray(nil, b, i))
	}
	for _, r := range refused {
		fmt.Fprintf(&text, "%d to %d: %v\n", r.Index, r.End, r.Err)
	}
	return text.String()
}
