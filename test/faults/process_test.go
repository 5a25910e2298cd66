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

// process is an `eventflux run` of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	points string // file of what is to happen to it
	out    output // what it says to its user, and
	log    output
	begun  chan struct{} // closed: a task has begun
	ready  chan struct{} // closed: it accepts events
	exited chan struct{} // closed: it is gone, and code is set
	code   int           // -1 after a signal
	died   time.Time
}

// run starts the apps on a data folder and returns at once.
func run(t *testing.T, data string, args ...string) *process {
	t.Helper()
	return runArmed(t, nil, data, args...)
}

// runArmed starts a single process. On a slow machine tasks may lag, and no publisher is to be
// refused for it unless a test asks for that.
func runArmed(t *testing.T, rules []string, data string, args ...string) *process {
	t.Helper()
	return startArmed(t, rules, append([]string{"run", "--data", data, "--listen", "127.0.0.1:0", "--ingest.lag_max", "1h"}, args...)...)
}

// start starts the program. It ends with the test at the latest.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startArmed(t, nil, args...)
}

// startArmed starts the program with what is to happen to it.
func startArmed(t *testing.T, rules []string, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(binary, args...), rules...)
}

// launch starts a command, which ends with the test at the latest.
func launch(t *testing.T, cmd *exec.Cmd, rules ...string) *process {
	t.Helper()
	p := &process{
		t: t, cmd: cmd, points: filepath.Join(t.TempDir(), "points"),
		begun: make(chan struct{}), ready: make(chan struct{}), exited: make(chan struct{}),
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EVENTFLUX_") { // settings of whoever runs the tests
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
		_ = p.cmd.Wait() // the exit code has it
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

// arm says what is to happen at which points, in place of what was said before.
func (p *process) arm(rules ...string) {
	p.t.Helper()
	arm(p.t, p.points, rules...)
}

func arm(t *testing.T, file string, rules ...string) {
	t.Helper()
	must(t, os.WriteFile(file+".new", []byte(strings.Join(rules, "\n")), 0o600))
	must(t, os.Rename(file+".new", file)) // it is read at any time
}

// serving starts the apps and returns once events are accepted.
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

// end waits for the end and returns the exit code.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // it says where it hangs
		<-p.exited
		_, dump, _ := strings.Cut(p.log.String(), "SIGQUIT")
		p.t.Fatalf("still running after %s: %s", patience, dump)
	}
	return p.code
}

// stop ends the process with SIGTERM, which it must obey.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
}

// url is where NATS listens; only once the process is ready.
func (p *process) url() string {
	_, rest, _ := strings.Cut(p.out.String(), "NATS on ")
	url, _, _ := strings.Cut(rest, " ")
	return url
}

// connect returns a connection that ends with the process or the test.
func (p *process) connect() *nats.Conn {
	p.t.Helper()
	nc, err := nats.Connect(p.url(), nats.NoReconnect())
	must(p.t, err)
	p.t.Cleanup(nc.Close)
	return nc
}

// task is what ef.processor.tasks tells of a task.
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

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	seek string
	then func()
}

// watch calls then once, when text appears.
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
