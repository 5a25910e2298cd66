package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// defaultListen is where the embedded server listens.
const defaultListen = "127.0.0.1:4222"

func listen() string {
	if at := os.Getenv("EVENTFLUX_LISTEN"); at != "" {
		return at
	}
	return defaultListen
}

// serverFlag is what commands need to find the server; "" at the default address.
func (d *demo) serverFlag() string {
	if listen() == defaultListen {
		return ""
	}
	return " --server " + d.server
}

// process is a child. The one that started it ends it with stop.
type process struct {
	cmd   *exec.Cmd
	out   output
	ended chan struct{}
	err   error // once it has ended
}

// output keeps what a process prints, and finds a line in it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// begin starts a command of the program with what it reads.
func (d *demo) begin(in io.Reader, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(d.program, args...), ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, &p.out, &p.out
	ownGroup(p.cmd) // Ctrl-C ends the demo, which ends its children in order
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; make build builds it", d.program, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// stop ends the process in an orderly way.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	<-p.ended
	return nil
}

// failure says why a process ended that should not have.
func (p *process) failure() error {
	return fmt.Errorf("%s ended: %w\n%s", strings.Join(p.cmd.Args, " "), errors.Join(p.err), p.out.String())
}

// start starts the app and returns once it serves.
func (d *demo) start(ctx context.Context) error {
	d.screen.say("$ bin/eventflux run %s", appFile)
	p, err := d.begin(nil, "run", appFile, "--data", filepath.Join(d.scratch, "data"), "--listen", listen())
	if err != nil {
		return err
	}
	d.process = p
	for !strings.Contains(p.out.String(), "\nready") {
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// publishing is the command that publishes the flights.
type publishing struct{ *process }

// publish starts to publish the flights.
func (d *demo) publish(context.Context) (*publishing, error) {
	file, err := os.Open(data)
	if err != nil {
		return nil, fmt.Errorf("%w; run it at the root of the repository", err)
	}
	defer file.Close()
	var head bytes.Buffer
	lines := bufio.NewScanner(file)
	for n := 0; n < d.flights && lines.Scan(); n++ {
		head.Write(lines.Bytes())
		head.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	// With more than one in flight, flights that are sent again come after later ones.
	flags := []string{"--ts", "time", "--rate", strconv.Itoa(d.rate), "--in-flight", "1"}
	d.screen.say("$ bin/eventflux publish Flights %s \\", data)
	d.screen.say("    %s%s", strings.Join(flags, " "), d.serverFlag())
	d.screen.say("")
	p, err := d.begin(&head, append([]string{"publish", "Flights", "-", "--server", d.server}, flags...)...)
	return &publishing{p}, err
}

var acceptedText = regexp.MustCompile(`accepted (\d+)`)

// accepted waits until the command has ended, and returns how many flights were acknowledged.
func (p *publishing) accepted() (int, error) {
	<-p.ended
	all := acceptedText.FindAllStringSubmatch(p.out.String(), -1)
	if p.err != nil || len(all) == 0 {
		return 0, p.failure()
	}
	return strconv.Atoi(all[len(all)-1][1])
}

// command runs a command, and shows it with what it prints.
func (d *demo) command(ctx context.Context, args ...string) error {
	d.screen.say("$ bin/eventflux %s", strings.Join(args, " ")+d.serverFlag())
	cmd := exec.CommandContext(ctx, d.program, append(args, "--server", d.server)...)
	out, err := cmd.CombinedOutput()
	d.screen.say("%s", strings.TrimRight(string(out), "\n"))
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}
