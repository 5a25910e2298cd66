package corruption

import (
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/test/program"
)

var (
	positions = flag.Int("positions", 0, "positions for each kind of file and damage; 0 is the short form: one damage for each kind")
	seed      = flag.Uint64("seed", 1, "of all positions")
	atOnce    = flag.Int("at-once", 3, "cases that run at once")
	only      = flag.String("only", "", "kinds of files that contain this text")
)

var binary string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &binary, "-tags", "faultpoints")) }

const (
	pend  = 52 // number of events before the damage: the last one waits for two more, so no result contains it
	after = 60 // number of events in total
)

// class is the outcome of a case.
type class string

const (
	right   class = "right"
	refused class = "refused"
	halted  class = "halted"
	silent  class = "silent"
	crash   class = "crash"
	hang    class = "hang"
)

var classes = []class{right, refused, halted, silent, crash, hang}

func (c class) fails() bool { return c == silent || c == crash || c == hang }

// one is one case.
type one struct {
	killed bool
	kind   string
	damage int
	number int // of the position
}

func (o one) String() string {
	how := "stopped"
	if o.killed {
		how = "killed"
	}
	return fmt.Sprintf("%s, %s, %s, position %d", how, o.kind, damages[o.damage].name, o.number)
}

// random returns the random numbers of a case. They depend only on the case, so it can be repeated
// alone.
func (o one) random() *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, o)
	return rand.New(rand.NewPCG(*seed, h.Sum64()))
}

func TestMatrix(t *testing.T) {
	want := replayed(t, after)
	var bases [2]base // of a stopped process, and of a killed one
	for i := range bases {
		bases[i] = newBase(t, i == 1)
	}
	usual := map[string]bool{}
	for i := range bases {
		r := run(t, bases[i].now, "", want, nil)
		if r.class != right {
			t.Fatalf("without damage: %s: %s", r.class, r.why)
		}
		for _, f := range r.found {
			usual[pattern(f)] = true
		}
	}
	cases := plan(bases)
	table := map[string]map[class]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, *atOnce)
	for _, c := range cases {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			b := &bases[0]
			if c.killed {
				b = &bases[1]
			}
			damaged, what := b.damage(c)
			if damaged == nil {
				return
			}
			r := run(t, damaged, what, want, usual)
			mu.Lock()
			defer mu.Unlock()
			if table[c.kind] == nil {
				table[c.kind] = map[class]int{}
			}
			table[c.kind][r.class]++
			if why, known := open[c.kind]; r.class.fails() && known {
				t.Logf("%s: %s of %s: %s (known: %s)", r.class, c, what, r.why, why)
			} else if r.class.fails() {
				t.Errorf("%s: %s of %s: %s", r.class, c, what, r.why)
			} else if testing.Verbose() {
				t.Logf("%s: %s of %s: %s", r.class, c, what, r.why)
			}
		})
	}
	group.Wait()
	t.Log("\n" + tableText(table))
}

// base is a data folder, and its content before its process started for the last time.
type base struct {
	now, old folder
	byKind   map[string][]string // paths, sorted
}

// newBase makes a data folder with checkpoints, a chain of two apps, and events after the newest
// checkpoint.
func newBase(t *testing.T, killed bool) base {
	t.Helper()
	dir := t.TempDir()
	var b base
	stages := []struct {
		from, to int
		interval string
	}{{1, 20, "300ms"}, {21, 40, "300ms"}, {41, pend, "1h"}}
	for i, s := range stages {
		p := start(t, dir, s.interval, "span snapshot 100ms")
		select {
		case <-p.ready:
		case <-p.exited:
			t.Fatalf("ended before it was ready:\n%s", p.out.String())
		case <-time.After(patience):
			t.Fatalf("not ready within %s:\n%s", patience, p.out.String())
		}
		nc, err := nats.Connect(p.url())
		must(t, err)
		must(t, publish(nc, s.from, s.to))
		must(t, nc.Publish("events.S", []byte(`{"no":"event"}`))) // a dead letter
		rows := s.to / 3
		program.Eventually(t, patience, "the results are out", func() bool {
			got := read(nc)
			return len(got[0]) == rows && len(got[1]) == rows
		})
		if s.interval != "1h" {
			made := len(manifests(dir))
			program.Eventually(t, patience, "there are checkpoints of them", func() bool { return len(manifests(dir)) >= made+4 })
			program.Eventually(t, patience, "Raft has snapshots", func() bool { return len(snapshots(dir)) > 0 })
		}
		nc.Close()
		last := i == len(stages)-1
		if last && killed {
			p.end(t, syscall.SIGKILL)
		} else {
			p.end(t, syscall.SIGTERM)
		}
		if i == len(stages)-2 {
			b.old = readFolder(t, dir)
		}
	}
	b.now = readFolder(t, dir)
	b.byKind = map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(b.now)) {
		kind, ok := kindOf(path)
		if !ok {
			t.Fatalf("%s is of no kind: give it a line in kinds.go, and say in docs/guarantees.md what its damage does", path)
		}
		b.byKind[kind] = append(b.byKind[kind], path)
	}
	return b
}

func manifests(dir string) []string {
	all, _ := filepath.Glob(filepath.Join(dir, "checkpoints", "apps", "*", "checkpoints", "*.json")) // the pattern is sound
	return all
}

// snapshots returns the complete snapshots of Raft.
func snapshots(dir string) []string {
	all, _ := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*[0-9]", "state.bin")) // the pattern is sound
	return all
}

// plan lists the cases.
func plan(bases [2]base) (cases []one) {
	for i := range bases {
		for k, kind := range slices.Sorted(maps.Keys(bases[i].byKind)) {
			switch {
			case !strings.Contains(kind, *only):
			case *positions > 0:
				cases = append(cases, bases[i].all(kind, i == 1)...)
			case k%2 == i:
				cases = append(cases, bases[i].some(kind, i == 1, k+int(*seed)))
			}
		}
	}
	return cases
}

// all lists the cases of a kind for the long form. A damage that has no position within the file is
// applied once to each file.
func (b *base) all(kind string, killed bool) (cases []one) {
	for d := range damages {
		n := *positions
		if name := damages[d].name; name != "flip" && name != "truncate" {
			n = min(n, len(b.byKind[kind]))
		}
		for number := range n {
			cases = append(cases, one{killed, kind, d, number})
		}
	}
	return cases
}

// some returns one case of a kind for the short form. The damage varies by kind, and changes the
// file.
func (b *base) some(kind string, killed bool, from int) (c one) {
	for d := range damages {
		c = one{killed, kind, (from + d) % len(damages), 0}
		if damaged, _ := b.damage(c); damaged != nil {
			break
		}
	}
	return c
}

// damage returns a copy of the folder with one file damaged, and the path of that file. The folder
// is nil if the damage changes nothing.
func (b *base) damage(c one) (folder, string) {
	rnd := c.random()
	paths := b.byKind[c.kind]
	path := paths[c.number%len(paths)]
	if len(paths) > *positions {
		path = paths[rnd.IntN(len(paths))]
	}
	content, changed := damages[c.damage].do(rnd, b.now[path], b.old[path])
	if !changed {
		return nil, path
	}
	damaged := maps.Clone(b.now)
	if content == nil {
		delete(damaged, path)
	} else {
		damaged[path] = content
	}
	return damaged, path
}

// outcome is the outcome of a case, and the reason for that verdict.
type outcome struct {
	class class
	why   string
	found []string
}

// run starts the program on a folder with a damaged file, publishes the remaining events, and
// judges the outcome. Findings count only if they are not usual and name the damaged part.
func run(t *testing.T, f folder, path string, want outputs, usual map[string]bool) outcome {
	dir := filepath.Join(t.TempDir(), "data")
	f.write(t, dir)
	p := start(t, dir, "500ms", "")
	defer p.end(t, syscall.SIGKILL)
	defer os.RemoveAll(dir)
	select {
	case <-p.ready:
	case <-p.exited:
		return refusal(p, path)
	case <-time.After(patience):
		return outcome{class: hang, why: "not ready after " + patience.String() + ": " + lastLines(p.out.String())}
	}
	nc, err := nats.Connect(p.url())
	if err != nil {
		return outcome{class: hang, why: "connect: " + err.Error()}
	}
	defer nc.Close()
	published := publish(nc, pend+1, after)
	var got outputs
	var found, others []string
	began := time.Now()
	for looks := 1; ; looks++ {
		got = read(nc)
		if published == nil && got.equal(want) {
			if usual == nil { // the caller wants the findings for an undamaged folder
				found = findings(nc, p.url())
			}
			return outcome{right, "", found}
		}
		select {
		case <-p.exited:
			return refusal(p, path)
		case <-time.After(100 * time.Millisecond):
		}
		if looks%20 != 0 {
			continue
		}
		for _, f := range findings(nc, p.url()) {
			switch {
			case usual[pattern(f)]:
			case namesPart(f, path):
				found = append(found, f)
			default:
				others = append(others, f)
			}
		}
		if len(found) > 0 {
			return outcome{halted, strings.Join(found, "; "), found}
		}
		if time.Since(began) > patience {
			break
		}
	}
	why := got.difference(want)
	if len(others) > 0 {
		why += "; found, without a word of " + path + ": " + others[len(others)-1]
	}
	if published != nil {
		why += "publishing: " + published.Error()
	}
	return outcome{class: silent, why: why}
}

// refusal judges a process that exited by itself. It must name the damaged part.
func refusal(p *process, path string) outcome {
	text := p.out.String()
	if strings.Contains(text, "panic:") || strings.Contains(text, "SIGSEGV") || strings.Contains(text, "fatal error:") || strings.Contains(text, "goroutine ") {
		return outcome{class: crash, why: lastLines(text)}
	}
	if _, said, _ := strings.Cut(text, "Error:"); !namesPart(cmp.Or(said, text), path) {
		return outcome{class: crash, why: "it does not name " + path + ": " + lastLines(text)}
	}
	return outcome{class: refused, why: lastLines(text)}
}

// lastLines returns the end of a process's output, in one line.
func lastLines(text string) string {
	const bytesMax = 600
	text = strings.TrimSpace(text)
	return strings.ReplaceAll(text[max(0, len(text)-bytesMax):], "\n", " | ")
}

// tableText returns the table with one line per kind.
func tableText(table map[string]map[class]int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %-34s |", "kind of file")
	for _, c := range classes {
		fmt.Fprintf(&b, " %7s |", c)
	}
	b.WriteString("\n|" + strings.Repeat("-", 36) + "|" + strings.Repeat("--------:|", len(classes)) + "\n")
	for _, kind := range slices.Sorted(maps.Keys(table)) {
		fmt.Fprintf(&b, "| %-34s |", kind)
		for _, c := range classes {
			fmt.Fprintf(&b, " %7d |", table[kind][c])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
