package node

import (
	"errors"
	"fmt"
	"testing"
)

// A checkpoint that is made while events change its groups equals a replay of the log: all of its
// state is as of the barrier.
func TestCheckpointsUnderLoad(t *testing.T) {
	t.Parallel()
	c := newChain(t, `@app:name('w') define stream S (k string, v int);
		from S select v, count() as n, max(v) as most group by v having n < 0 insert into Out;
		partition with (k of S) begin from S#length(2) select k, sum(v) as total having total < 0 insert into Totals; end;`)
	c.start()
	defer c.end()
	groups, rounds := 20_000, 4
	if testing.Short() {
		groups, rounds = 10_000, 1
	}
	publish := func(batch int) error {
		var rows []byte
		for i := range 500 {
			n := (batch*500 + i) * 7919 % groups
			rows = fmt.Appendf(rows, "{\"k\":\"k%d\",\"v\":%d}\n", n%3000, n)
		}
		_, err := c.js.Publish(c.within(), "events.S", rows)
		return err
	}
	batch := 0
	publishAll := func(rounds int) (err error) {
		for range rounds * groups / 500 {
			err = errors.Join(err, publish(batch))
			batch++
		}
		return err
	}
	if err := publishAll(1); err != nil {
		t.Fatal(err)
	}
	first := c.trigger("w")
	last := first
	for range rounds {
		ended := make(chan error, 1)
		go func() { ended <- publishAll(8) }()
		last = c.trigger("w")
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	for epoch := first + 1; epoch <= last; epoch++ {
		if got := c.verifyFull("w", uint64(epoch)); !got.Proved {
			t.Errorf("checkpoint %d: %+v", epoch, got)
		}
	}
}
