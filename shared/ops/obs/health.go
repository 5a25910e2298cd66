package obs

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Heartbeat is when a loop was last seen running. The zero value is one that does not run,
// and is not asked to.
type Heartbeat struct{ at atomic.Int64 }

// Now says that the loop runs.
func (b *Heartbeat) Now() { b.at.Store(time.Now().UnixNano()) }

// Stop says that the loop has ended, as it should.
func (b *Heartbeat) Stop() { b.at.Store(0) }

// Within reports whether the loop was seen within a time.
func (b *Heartbeat) Within(long time.Duration) bool {
	return time.Since(time.Unix(0, b.at.Load())) <= long
}

// Check returns an error if the loop runs, and was not seen for so long.
func (b *Heartbeat) Check(long time.Duration) error {
	at := b.at.Load()
	if since := time.Since(time.Unix(0, at)); at != 0 && since > long {
		return fmt.Errorf("its loop was last seen %s ago, at most %s are in order; look at the log, and restart the process", since.Round(time.Second), long)
	}
	return nil
}

// Check is a question about the process.
type Check struct {
	Name string
	// Of is "" for a question whether the process works, which a restart may help; Ready for
	// one whether it serves, which may come by itself; or Warning.
	Of string
	// Ask returns nil if all is well, else what is wrong and what to do. It must not
	// block.
	Ask func() error
}

// Kinds of checks.
const (
	// Ready checks say whether the process serves.
	Ready = "ready"
	// Warning checks say what people should know. The process is healthy and ready all the same.
	Warning = "warning"
)

// Health is the checks of a process. It may be used concurrently.
type Health struct {
	mu     sync.Mutex
	checks []*Check
}

// Add adds a check. What it returns removes it.
func (h *Health) Add(c Check) (remove func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	added := &c
	h.checks = append(h.checks, added)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.checks = slices.DeleteFunc(h.checks, func(c *Check) bool { return c == added })
	}
}

// Result is the answer to a check.
type Result struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`
	Warning string `json:"warning,omitempty"` // what people should know, although all is ok
}

// Ask returns the answers to the checks of a kind, by name; Ready asks all.
func (h *Health) Ask(kind string) (results []Result, ok bool) {
	h.mu.Lock()
	checks := slices.Clone(h.checks)
	h.mu.Unlock()
	results, ok = []Result{}, true
	for _, c := range checks {
		if c.Of == Ready && kind != Ready {
			continue
		}
		r := Result{Name: c.Name, OK: true}
		switch err := c.Ask(); {
		case err == nil:
		case c.Of == Warning:
			r.Warning = err.Error()
		default:
			r.OK, r.Error, ok = false, err.Error(), false
		}
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.Name, b.Name) })
	return results, ok
}
