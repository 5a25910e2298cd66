//go:build faultpoints

package faultpoint

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says that points can do something.
const Enabled = true

// rule is a line of the file.
type rule struct {
	action string
	point  Point
	left   int // times until it applies; always for 0
}

// rules are what the file said last.
type rules struct {
	file string

	mu    sync.Mutex
	text  string
	all   []*rule
	clock time.Duration
	spans map[string]time.Duration
}

var of = &rules{file: os.Getenv("FAULTPOINTS")}

// load reads the file if it has changed. Counting then starts again.
func (r *rules) load() {
	if r.file == "" {
		return
	}
	data, _ := os.ReadFile(r.file) // no file, no rules
	if string(data) == r.text {
		return
	}
	r.text, r.all, r.clock, r.spans = string(data), nil, 0, map[string]time.Duration{}
	for line := range strings.Lines(r.text) {
		var action, point string
		var times int
		var name, span string
		if n, _ := fmt.Sscan(line, &action, &name, &span); n == 3 && action == "span" {
			of, err := time.ParseDuration(span)
			if err != nil {
				panic(err)
			}
			r.spans[name] = of
			continue
		}
		switch n, _ := fmt.Sscan(line, &action, &point, &times); {
		case action == "clock" && n >= 2:
			by, err := time.ParseDuration(point)
			if err != nil {
				panic(err)
			}
			r.clock = by
		case n == 3:
			r.all = append(r.all, &rule{action, Point(point), times})
		case n > 0:
			panic(fmt.Sprintf("%s: line %q", r.file, line))
		}
	}
}

// at returns what is to happen at a point, now that it is reached.
func (r *rules) at(p Point) (action string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	for _, rule := range r.all {
		if rule.point != p {
			continue
		}
		if rule.left == 0 {
			action = rule.action
			continue
		}
		if rule.left--; rule.left == 0 {
			rule.left = -1 // once
			action = rule.action
		}
	}
	return action
}

// Reach says that the process has come to a point. It may not come any further.
func Reach(p Point) { _ = Fail(p) }

// ReachFrame says that a task is about to apply a frame: the point is frame.APP.PARTITION.SEQUENCE.
func ReachFrame(app string, partition uint32, seq uint64) {
	Reach(Point(fmt.Sprintf("frame.%s.%d.%d", app, partition, seq)))
}

// Fail is Reach, and returns an error if the step is to fail.
func Fail(p Point) error {
	action := of.at(p)
	if action == "" {
		return nil
	}
	fmt.Fprintf(os.Stderr, "faultpoint %s: %s\n", p, action)
	switch action {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		stop()
	case "fail":
		return fmt.Errorf("faultpoint %s", p)
	default:
		panic(fmt.Sprintf("%s: no action is called %q", of.file, action))
	}
	return nil
}

// Span is a time that tests shorten; 0: as it is by default.
func Span(name string) time.Duration {
	of.mu.Lock()
	defer of.mu.Unlock()
	of.load()
	return of.spans[name]
}

// Now returns the time of the machine's clock. Like a real clock's, its steps do not show in
// differences, unless the time was written down in between.
func Now() time.Time {
	of.mu.Lock()
	defer of.mu.Unlock()
	of.load()
	return time.Now().Add(of.clock)
}
