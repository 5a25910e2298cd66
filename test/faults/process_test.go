package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// process is a running eventflux program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	points string // file with its fault rules
	out    output // standard output
	log    output
	begun  chan struct{} // closed when a task has started
	ready  chan struct{} // closed when it accepts events
	exited chan struct{} // closed when it has exited; then code is set
	code   int           // -1 after a signal
	died   time.Time
}

// run runs apps on a data folder. It returns at once.
func run(t *testing.T, data string, args ...string) *process {
	t.Helper()
	return runArmed(t, nil, data, args...)
}

// runArmed is run with fault rules. Tasks may lag on a slow machine, so publishers are not refused
// for that unless a test asks for it.
func runArmed(t *testing.T, rules []string, data string, args ...string) *process {
	t.Helper()
	return startArmed(t, rules, append([]string{"run", "--data", data, "--listen", "127.0.0.1:0", "--ingest.lag_max", "1h"}, args...)...)
}

// start starts the program. The test kills it at its end.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startArmed(t, nil, args...)
}

// startArmed is start with fault rules.
func startArmed(t *testing.T, rules []string, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(binary, args...), rules...)
}

// launch starts a command. The test kills it at its end.
func launch(t *testing.T, cmd *exec.Cmd, rules ...string) *process {
	t.Helper()
	p := &process{
		t: t, cmd: cmd, points: filepath.Join(t.TempDir(), "points"),
		begun: make(chan struct{}), ready: make(chan struct{}), exited: make(chan struct{}),
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EVENTFLUX_") { // the developer's own settings
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.arm(rules...)
	p.cmd.Env = append(p.cmd.Env, "FAULTPOINTS="+p.points)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	p.log.watch("task took over", func() { close(p.begun) })
	p.out.watch("\nready;", func() { close(p.ready) })
	must(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // the exit code tells
		p.died = time.Now()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("%s: exit code %d\n%s%s", strings.Join(p.cmd.Args[1:], " "), p.code, p.out.tail(), p.log.tail())
		}
	})
	return p
}

// arm replaces the fault rules of the process.
func (p *process) arm(rules ...string) {
	p.t.Helper()
	arm(p.t, p.points, rules...)
}

func arm(t *testing.T, file string, rules ...string) {
	t.Helper()
	must(t, os.WriteFile(file+".new", []byte(strings.Join(rules, "\n")), 0o600))
	must(t, os.Rename(file+".new", file)) // the process may read it at any time
}

// serving runs apps and returns once events are accepted.
func serving(t *testing.T, data string, args ...string) *process {
	t.Helper()
	p := run(t, data, args...)
	p.awaitReady()
	return p
}

func (p *process) awaitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-p.exited:
		p.t.Fatalf("ended with code %d before it was ready", p.code)
	case <-time.After(patience):
		p.t.Fatalf("not ready after %s", patience)
	}
}

// signal does nothing to a process that is gone.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.exited:
	default:
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.t.Errorf("signal %s: %v", s, err)
		}
	}
}

// end waits until the process has exited, and returns its exit code.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // prints where it hangs
		<-p.exited
		_, dump, _ := strings.Cut(p.log.String(), "SIGQUIT")
		p.t.Fatalf("still running after %s: %s", patience, dump)
	}
	return p.code
}

// stop stops the process with SIGTERM, and expects a clean exit.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
}

// url returns where NATS listens. The process must be ready.
func (p *process) url() string {
	_, rest, _ := strings.Cut(p.out.String(), "NATS on ")
	url, _, _ := strings.Cut(rest, " ")
	return url
}

// connect returns a connection that the test closes at its end.
func (p *process) connect() *nats.Conn {
	p.t.Helper()
	nc, err := nats.Connect(p.url(), nats.NoReconnect())
	must(p.t, err)
	p.t.Cleanup(nc.Close)
	return nc
}

// task is a task as ef.processor.tasks reports it.
type task struct {
	App       string `json:"app"`
	Partition int    `json:"partition"`
	State     string `json:"state"`
	Error     string `json:"error"`
	Applied   uint64 `json:"applied"`
	Results   uint64 `json:"results"`
}

func tasks(nc *nats.Conn) ([]task, error) {
	m, err := nc.Request("ef.processor.tasks", nil, 10*time.Second)
	if err != nil {
		return nil, err
	}
	var list struct{ Tasks []task }
	err = json.Unmarshal(m.Data, &list)
	return list.Tasks, err
}

// output collects the output of a process.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	seek string
	then func()
}

// watch calls then once, when the text appears.
func (o *output) watch(text string, then func()) { o.seek, o.then = text, then }

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

func (o *output) tail() string {
	const bytesMax = 4000
	s := o.String()
	return s[max(0, len(s)-bytesMax):]
}
