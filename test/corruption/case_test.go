package corruption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	firstApp = `@app:name('First') define stream S (n long, v long, t string);
from S#window.lengthBatch(3) select n, sum(v) as s, t insert into Mid;`
	secondApp = `@app:name('Second') @source(subject='out.First.Mid.0') define stream In (n long, s long, t string);
from In select n, s, sum(s) as total, count() as rows, t insert into Out;`

	patience = 3 * time.Minute // for anything, on a busy machine
)

// folder is the content of a data folder, by path. It leaves out empty folders.
type folder map[string][]byte

func readFolder(t *testing.T, dir string) folder {
	t.Helper()
	all := folder{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path) // both are from the same walk
		all[filepath.ToSlash(name)] = data
		return err
	}))
	return all
}

func (f folder) write(t *testing.T, dir string) {
	t.Helper()
	for name, data := range f {
		file := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(file), 0o700))
		must(t, os.WriteFile(file, data, 0o600))
	}
}

// process is a running eventflux on a data folder.
type process struct {
	cmd    *exec.Cmd
	out    output
	exited chan struct{}
	ready  chan struct{}
}

// start starts the program, with a rule of shared/testing/faultpoint if rule is not "".
func start(t *testing.T, data, interval, rule string) *process {
	t.Helper()
	apps := t.TempDir()
	first, second := filepath.Join(apps, "first.siddhi"), filepath.Join(apps, "second.siddhi")
	must(t, os.WriteFile(first, []byte(firstApp), 0o600))
	must(t, os.WriteFile(second, []byte(secondApp), 0o600))
	p := &process{exited: make(chan struct{}), ready: make(chan struct{})}
	p.cmd = exec.Command(binary, "run", first, second, "--data", data, "--listen", "127.0.0.1:0",
		"--wal.durability", "fast", "--checkpoint.interval", interval)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EVENTFLUX_") { // the developer's own settings
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	points := filepath.Join(apps, "points")
	must(t, os.WriteFile(points, []byte(rule), 0o600))
	p.cmd.Env = append(p.cmd.Env, "FAULTPOINTS="+points)
	// A damaged length must not use up the machine's memory.
	p.cmd.Env = append(p.cmd.Env, "GOMEMLIMIT=1GiB")
	p.out.seek, p.out.then = "\nready;", func() { close(p.ready) }
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	must(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // the exit code tells
		close(p.exited)
	}()
	return p
}

// end sends a signal and waits until the process has exited.
func (p *process) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal %s: %v", s, err)
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exited
		t.Errorf("the process did not end within %s after %s:\n%s", patience, s, p.out.String())
	}
}

// url returns where NATS listens. The process must be ready.
func (p *process) url() string {
	_, rest, _ := strings.Cut(p.out.String(), "NATS on ")
	url, _, _ := strings.Cut(rest, " ")
	return url
}

// event returns an event by its number. Its text makes frames and results vary in size.
func event(n int) string {
	return fmt.Sprintf(`{"n":%d,"v":%d,"t":"%s"}`, n, n*n%101, strings.Repeat("x", n%40))
}

// publish publishes a range of events, one by one and each with a message id. It returns the first
// error.
func publish(nc *nats.Conn, from, to int) error {
	for n := from; n <= to; n++ {
		m := &nats.Msg{Subject: "events.S", Data: []byte(event(n)), Header: nats.Header{nats.MsgIdHdr: {fmt.Sprint("m", n)}}}
		answer, err := nc.RequestMsg(m, 10*time.Second)
		if err != nil {
			return fmt.Errorf("event %d: %w", n, err)
		}
		var a struct {
			Error *struct {
				Description string `json:"description"`
			} `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &a); err != nil {
			return fmt.Errorf("event %d: answer %q: %w", n, answer.Data, err)
		}
		if a.Error != nil {
			return fmt.Errorf("event %d: %s", n, a.Error.Description)
		}
	}
	return nil
}

// outputs holds the rows of both output streams, in order.
type outputs [2][]string

var outStreams = [2]string{"EFO_First_0", "EFO_Second_0"}

// read returns the readable rows of the output streams.
func read(nc *nats.Conn) (all outputs) {
	js, err := nc.JetStream(nats.MaxWait(5 * time.Second))
	if err != nil {
		return all
	}
	for i, name := range outStreams {
		info, err := js.StreamInfo(name)
		if err != nil {
			continue
		}
		for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
			m, err := js.GetMsg(name, seq)
			if err == nil && !strings.HasPrefix(m.Subject, "ef.fence.") {
				all[i] = append(all[i], values(m.Data))
			}
		}
	}
	return all
}

// values returns the values of an object or array, separated by commas.
func values(text []byte) string {
	var object struct {
		N, S, Total, Rows *int64
		T                 string
	}
	if json.Unmarshal(text, &object) == nil {
		var b strings.Builder
		for _, v := range []*int64{object.N, object.S, object.Total, object.Rows} {
			if v != nil {
				fmt.Fprintf(&b, "%d,", *v)
			}
		}
		return b.String() + object.T
	}
	var list []any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&list); err != nil {
		return string(text)
	}
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}

// replayed returns the results of a replay of events 1 to n.
func replayed(t *testing.T, n int) (want outputs) {
	t.Helper()
	var lines strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&lines, `{"stream":"S","ts":%d,"data":%s}`+"\n", i, event(i))
	}
	var raw []json.RawMessage
	want[0], raw = replay(t, firstApp, lines.String())
	lines.Reset()
	for i, data := range raw {
		fmt.Fprintf(&lines, `{"stream":"In","ts":%d,"data":%s}`+"\n", i, data)
	}
	want[1], _ = replay(t, secondApp, lines.String())
	return want
}

func replay(t *testing.T, app, lines string) (rows []string, raw []json.RawMessage) {
	t.Helper()
	dir := t.TempDir()
	file, events := filepath.Join(dir, "app.siddhi"), filepath.Join(dir, "events.ndjson")
	must(t, os.WriteFile(file, []byte(app), 0o600))
	must(t, os.WriteFile(events, []byte(lines), 0o600))
	out, err := exec.Command(binary, "replay", file, "--events", events).Output()
	must(t, err)
	for line := range bytes.Lines(out) {
		var row struct{ Data json.RawMessage }
		must(t, json.Unmarshal(line, &row))
		rows, raw = append(rows, values(row.Data)), append(raw, row.Data)
	}
	return rows, raw
}

func (o outputs) equal(want outputs) bool {
	return slices.Equal(o[0], want[0]) && slices.Equal(o[1], want[1])
}

// difference describes where the outputs first differ.
func (o outputs) difference(want outputs) string {
	var b strings.Builder
	for i, name := range outStreams {
		same := 0
		for same < min(len(o[i]), len(want[i])) && o[i][same] == want[i][same] {
			same++
		}
		if same < max(len(o[i]), len(want[i])) {
			fmt.Fprintf(&b, "%s has %d rows, want %d; the first %d are right. ", name, len(o[i]), len(want[i]), same)
		}
	}
	return b.String()
}

// findings returns the problems that doctor and the tasks report, one per line.
func findings(nc *nats.Conn, url string) (all []string) {
	if m, err := nc.Request("ef.processor.tasks", nil, 5*time.Second); err == nil {
		var list struct {
			Tasks []struct{ App, State, Error string }
		}
		if json.Unmarshal(m.Data, &list) == nil {
			for _, one := range list.Tasks {
				if one.Error != "" {
					all = append(all, fmt.Sprintf("task of %s is %s: %s", one.App, one.State, one.Error))
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, _ := exec.CommandContext(ctx, binary, "doctor", "--json", "--server", url).Output() // exit code 1 reports errors
	var report struct {
		Findings []struct{ Severity, Subject, Meaning string }
	}
	if json.Unmarshal(out, &report) == nil {
		for _, f := range report.Findings {
			if f.Severity == "error" || f.Severity == "warning" {
				all = append(all, f.Subject+": "+f.Meaning)
			}
		}
	}
	return all
}

// numbers matches the parts of a finding that differ between runs.
var numbers = regexp.MustCompile(`[0-9][0-9.:]*[a-zµ]*`)

func pattern(finding string) string { return numbers.ReplaceAllString(finding, "#") }

// output collects the output of a process.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	seek string
	then func()
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.then != nil && bytes.Contains(o.text.Bytes(), []byte(o.seek)) {
		o.then()
		o.then = nil
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
