package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/testing/redistest"
)

// A restart continues from the newest checkpoint in Redis, even if Redis was killed too.
func TestRestartFromRedis(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 300, 300)
	redis := redistest.Start(t, redistest.Durable...)
	c := newChain(t, windowApp)
	c.cfg.Store.URL = redis.URL()
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 1, time.Millisecond
	c.start()
	c.publishAll(0, 200)
	c.trigger("w")
	second := c.trigger("w")
	c.publishAll(200, 250)
	var report control.VerifyReport
	if err := c.node.control.Do(c.within(), control.VerbVerify, control.CheckpointRequest{App: "w"}, &report); err != nil || !report.Sound {
		t.Errorf("verify: %+v, %v", report, err)
	}
	c.kill()
	redis.Kill()
	redis.Start()
	c.start()
	if got := c.task("running"); got.Restored != uint64(second) || got.Events > 50 {
		t.Errorf("restored %d and applied %d events; want checkpoint %d and the 50 events after it", got.Restored, got.Events, second)
	}
	c.publishAll(250, 300)
	if got := c.rows("w", 300); !slices.Equal(got, want) {
		t.Error("other results than without a restart")
	}
	c.end()
}

// While Redis is away, events are accepted and results appear; checkpoints fail.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 150, 150)
	redis := redistest.Start(t, redistest.Durable...)
	c := newChain(t, windowApp)
	c.cfg.Store.URL = redis.URL("timeout=3s") // the client retries once per second
	c.start()
	c.publishAll(0, 50)
	c.trigger("w")
	redis.Kill()
	c.publishAll(50, 100)
	o, err := c.node.control.Trigger(c.within(), control.AppRequest{App: "w"})
	if err != nil || o.Committed || !strings.Contains(o.Reason, "connection refused") {
		t.Errorf("a checkpoint without Redis: %+v, %v", o, err)
	}
	c.publishAll(100, 120)
	c.rows("w", 120)
	redis.Start()
	third := c.trigger("w")
	c.publishAll(120, 130)
	c.kill()
	c.start()
	if got := c.task("running"); got.Restored != uint64(third) {
		t.Errorf("restored %d, want checkpoint %d", got.Restored, third)
	}
	c.publishAll(130, 150)
	if got := c.rows("w", 150); !slices.Equal(got, want) {
		t.Error("other results than with Redis all along")
	}
	c.end()
}
