package node

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// An event of the year 9999 does not block the windows of an app. In an app on arrival time it
// counts as of now; in a playback app it is refused, and the clock does not move.
func TestEventOfTheYear9999(t *testing.T) {
	t.Parallel()
	const year9999 = 253_402_300_799_000
	now := time.Now().UnixMilli()
	for name, x := range map[string]struct {
		app    string
		events []int64 // own times
		refuse string  // of the first one
		want   []string
	}{
		"arrival time": {
			"",
			[]int64{year9999, now},
			"",
			[]string{"0", "0", "1", "1"},
		},
		"playback": {
			"@app:playback",
			[]int64{year9999, now, now + 5000},
			"at most 1h0m0s ahead",
			[]string{"1", "1", "2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, fmt.Sprintf(`@app:name('w') %s define stream S (k string, v int);
				from S#window.time(100 millisec) select v insert all events into Out;`, x.app))
			c.start()
			defer c.end()
			for i, at := range x.events {
				m := nats.NewMsg("events.S")
				m.Header.Set("Ef-Timestamp", strconv.FormatInt(at, 10))
				m.Data = fmt.Appendf(nil, `{"k":"a","v":%d}`, i)
				_, err := c.js.PublishMsg(c.within(), m)
				if refused := i == 0 && x.refuse != ""; refused != (err != nil) || refused && !strings.Contains(err.Error(), x.refuse) {
					t.Errorf("event %d: %v", i, err)
				}
			}
			var got []string
			for _, row := range c.rows("w", len(x.want)) {
				got = append(got, strings.Trim(row, `{"v:} `))
			}
			slices.Sort(got)
			if !slices.Equal(got, x.want) {
				t.Errorf("rows %q, want %q", got, x.want)
			}
		})
	}
}
