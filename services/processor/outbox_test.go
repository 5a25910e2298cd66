package processor

import (
	"testing"
	"testing/synctest"
	"time"
)

// The results that wait for a slow output stream are bounded in time, and the outbox reports
// how long they have waited. With a fast one there is room for large batches.
func TestOutboxIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newOutbox()
		fill := func() (n int) {
			b.fill(t.Context(), func(p *messageBatch) {
				for ; !p.full(); n++ {
					p.messages = append(p.messages, message{})
				}
			})
			return n
		}
		// send sends all that waits, at so many messages a second.
		send := func(rate int) {
			p := b.take(t.Context())
			time.Sleep(time.Duration(len(p.messages)) * time.Second / time.Duration(rate))
			b.sent(p)
		}
		for _, c := range []struct{ rate, want int }{
			{100_000, outboxMessagesMax}, {2000, 2000}, {2000, 2000}, {10, outboxMessagesMin}, {500, 500}, {100_000, outboxMessagesMax},
		} {
			fill()
			send(c.rate)
			if n := fill(); n != c.want {
				t.Errorf("at %d messages a second, %d may wait, want %d", c.rate, n, c.want)
			}
			time.Sleep(time.Minute)
			if n, age := b.waiting(time.Now()); n != uint64(c.want) || age != time.Minute {
				t.Errorf("%d messages wait, for %s", n, age)
			}
			send(c.rate)
		}
		if n, age := b.waiting(time.Now()); n != 0 || age != 0 {
			t.Errorf("%d messages wait, for %s, and all are sent", n, age)
		}
	})
}
