package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build builds the program into a folder and returns its path.
func (b *bench) build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "eventflux")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/eventflux")
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return binary, nil
}

// processes runs services as eventflux serve does, each in its own process.
type processes struct {
	b        *bench
	binary   string
	dir      string
	url      string
	settings []string
	running  map[string]*exec.Cmd
}

// newProcesses starts a checkpointer and an ingest.
func newProcesses(ctx context.Context, b *bench, binary, dir, url string, settings ...string) (*processes, error) {
	p := &processes{b: b, binary: binary, dir: dir, url: url, settings: settings, running: map[string]*exec.Cmd{}}
	for _, service := range []string{"checkpointer", "ingest"} {
		if err := p.start(ctx, service, service); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

// start starts or restarts a service. A name keeps its data folder.
func (p *processes) start(ctx context.Context, name, service string) error {
	args := []string{
		"serve", "--services", service, "--nats.url", p.url, "--data", filepath.Join(p.dir, name), "--store.url", "file:" + filepath.Join(p.dir, "store"),
		"--wal.durability", "fast", // what the servers do was set when they were made
		"--log.level", "error",
	}
	if service == "processor" {
		args = append(args, "--processor.id", name)
	}
	cmd := exec.CommandContext(ctx, p.binary, append(args, p.settings...)...)
	cmd.Stderr = p.b.progress
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EVENTFLUX_") { // settings of the person who measures
			cmd.Env = append(cmd.Env, v)
		}
	}
	p.running[name] = cmd
	return cmd.Start()
}

// kill kills a service and returns once its process is gone.
func (p *processes) kill(name string) error {
	cmd := p.running[name]
	delete(p.running, name)
	err := cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return err
}

func (p *processes) close() error {
	var all []error
	for name := range p.running {
		all = append(all, p.kill(name))
	}
	return errors.Join(all...)
}
