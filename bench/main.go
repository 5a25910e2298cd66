// Command bench measures what EventFlux promises about speed, and writes
// bench/RESULTS.md: every figure beside a limit or a peer of the same run, as a
// median of several. Parts whose subject is one package run that package's
// benchmarks; the others run the whole product as eventflux run wires it.
//
//	main.go ──▶ gobench.go ──▶ wal.go engine.go pattern.go join.go intake.go state.go compress.go checkpoint.go bucket.go merge.go   go test -bench
//	        ──▶ rig.go publisher.go results.go processes.go ──▶ barriers.go killed.go failover.go change.go election.go endtoend.go latency.go scale.go
//	        ──▶ report.go machine.go ──▶ RESULTS.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// bench is one run of this command.
type bench struct {
	root     string // of the repository
	dir      string // for data, on a disk
	repeat   int
	profiles string // folder for CPU profiles; "" for none
	flow     string // the only one to run end to end, without limits; "" for all
	progress io.Writer
}

// part is a section of the results.
type part struct {
	name string
	run  func(context.Context, *bench) ([]table, error)
}

var parts = []part{
	{"wal", runWAL},
	{"engine", runEngine},
	{"pattern", runPattern},
	{"join", runJoin},
	{"json", runJSON},
	{"sizes", runSizes},
	{"auto", runAuto},
	{"state", runState},
	{"checkpoint", runCheckpoint},
	{"bucket", runBucket},
	{"view", runView},
	{"recovery", runRecovery},
	{"merge", runMerge},
	{"barriers", runBarriers},
	{"killed", runKilled},
	{"failover", runFailover},
	{"change", runChange},
	{"shadow", runShadow},
	{"election", runElection},
	{"e2e", runEndToEnd},
	{"latency", runLatency},
	{"scale", runScale},
}

func main() {
	if file := os.Getenv(natsVar); file != "" {
		if err := serveNATS(file); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "parts to run, of "+strings.Join(partNames(), ",")+"; results are printed and not written")
	repeat := flags.Int("repeat", 3, "how often each figure is measured; the median counts")
	cores := flags.Int("cores", min(2, runtime.NumCPU()), "cores that Go may use, with publisher, server and services in one process")
	dir := flags.String("dir", "", "folder for data, on the disk to be measured (default: data in the repository)")
	flow := flags.String("flow", "", "the only flow to run of part e2e, such as "+flows[0].name)
	profiles := flags.String("cpuprofile", "", "folder for a CPU profile of each end-to-end figure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *repeat < 1 || *cores < 1 {
		return fmt.Errorf("-repeat %d and -cores %d must be 1 or more", *repeat, *cores)
	}
	b := &bench{repeat: *repeat, profiles: *profiles, flow: *flow, progress: stderr}
	if b.root, err = repository(ctx); err != nil {
		return err
	}
	if b.dir, err = workFolder(b.root, *dir); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	runtime.GOMAXPROCS(*cores)

	m := lookAtMachine(ctx, b)
	command := strings.Join(append([]string{"go run ./bench"}, args...), " ")
	report := newReport(m, command)
	for _, p := range chosen {
		tables, err := p.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		report.add(tables...)
	}
	if _, err := io.WriteString(stdout, report.String()); err != nil {
		return err
	}
	if *only != "" || *flow != "" {
		return nil
	}
	return os.WriteFile(filepath.Join(b.root, "bench", "RESULTS.md"), []byte(report.String()), 0o644)
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	var chosen []part
	for _, name := range strings.Split(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: no part is called %q, there are %s", only, name, strings.Join(partNames(), ", "))
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w; run this inside of it", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// workFolder makes a folder of this run's own. The default is in the repository and
// not in the system's folder for such, which may be in memory and sync for free.
func workFolder(root, dir string) (string, error) {
	if dir == "" {
		dir = filepath.Join(root, "data")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, "bench-*")
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }
