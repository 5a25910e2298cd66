package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	syncBytes = 4 << 10
	syncs     = 500
)

// machine describes what the figures depend on.
type machine struct {
	cpu, memory, kernel, files, load string
	cores, used                      int
	sync                             syncTimes
	commit                           string
	when                             time.Time
}

// syncTimes are times of one fsync of 4 KiB, in seconds.
type syncTimes struct{ p50, p99 float64 }

// lookAtMachine describes the machine. What a system does not reveal is "unknown".
func lookAtMachine(ctx context.Context, b *bench) machine {
	m := machine{
		cpu: procField("/proc/cpuinfo", "model name"), memory: memory(), kernel: firstLine("/proc/sys/kernel/osrelease"),
		files: fileSystem(b.dir), load: firstLine("/proc/loadavg"),
		cores: runtime.NumCPU(), used: runtime.GOMAXPROCS(0),
		commit: commit(ctx, b.root), when: time.Now().UTC(),
	}
	var err error
	if m.sync, err = measureSync(b.dir); err != nil {
		b.say("fsync: %v", err)
	}
	return m
}

func (m machine) facts() [][2]string {
	return [][2]string{
		{"CPU", fmt.Sprintf("%s, %d cores, %d used", m.cpu, m.cores, m.used)},
		{"memory", m.memory},
		{"kernel", runtime.GOOS + " " + m.kernel},
		{"Go", runtime.Version() + " " + runtime.GOARCH},
		{"files", fmt.Sprintf("%s; fsync of 4 KiB takes %s, p99 %s", m.files, duration(m.sync.p50), duration(m.sync.p99))},
		{"load before", m.load},
		{"date", m.when.Format("2006-01-02 15:04 MST")},
		{"commit", m.commit},
	}
}

// procField returns the value of the first line "name : value" of a file.
func procField(file, name string) string {
	data, _ := os.ReadFile(file) // not there on other systems
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	kb, err := strconv.ParseFloat(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 64)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", kb/(1<<20))
}

func firstLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

// fileSystem returns the type of the file system of dir: the type of the longest mount point
// above it.
func fileSystem(dir string) string {
	data, _ := os.ReadFile("/proc/self/mounts")
	found, kind := "", "unknown"
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < len(found) {
			continue
		}
		if rest, ok := strings.CutPrefix(dir, strings.TrimSuffix(f[1], "/")); ok && (rest == "" || rest[0] == '/') {
			found, kind = f[1], f[2]
		}
	}
	return kind
}

// commit returns the commit, and says whether files differ from it.
func commit(ctx context.Context, root string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	id, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "unknown"
	}
	if changes, err := git("status", "--porcelain", "--untracked-files=no", "--", "*.go", "go.mod"); err != nil || changes != "" {
		id += ", with changes"
	}
	return id
}

// measureSync appends to a file and syncs each time, as a log does.
func measureSync(dir string) (syncTimes, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return syncTimes{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	data := bytes.Repeat([]byte{1}, syncBytes)
	var times []float64
	for range syncs {
		start := time.Now()
		if _, err := f.Write(data); err != nil {
			return syncTimes{}, err
		}
		if err := f.Sync(); err != nil {
			return syncTimes{}, err
		}
		times = append(times, time.Since(start).Seconds())
	}
	return syncTimes{p50: percentile(times, 50), p99: percentile(times, 99)}, nil
}

// percentile returns the value that p percent of values do not exceed.
func percentile(values []float64, p float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(float64(len(s))*p/100))]
}
