package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// benchmarks holds the measurements of Go benchmarks by unit and by name, without the suffix for
// the number of cores.
type benchmarks map[string]map[string][]float64

// gobench runs the benchmarks of a package b.repeat times. Further flags of go test may follow.
func (b *bench) gobench(ctx context.Context, pkg, pattern string, flags ...string) (benchmarks, error) {
	args := []string{
		"test", "-run", "^$", "-bench", pattern, "-benchmem",
		"-count", strconv.Itoa(b.repeat), "-cpu", strconv.Itoa(runtime.GOMAXPROCS(0)), "-timeout", "30m",
	}
	args = append(append(args, flags...), pkg)
	b.say("go %s", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return parseBenchmarks(out)
}

var coresSuffix = regexp.MustCompile(`-\d+$`)

// parseBenchmarks reads lines such as
//
//	BenchmarkWAL/nats/single-2   1000   1234 ns/op   810372 events/s
func parseBenchmarks(out []byte) (benchmarks, error) {
	all := benchmarks{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := coresSuffix.ReplaceAllString(fields[0], "")
		if all[name] == nil {
			all[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark %s: %w", name, err)
			}
			all[name][fields[i+1]] = append(all[name][fields[i+1]], v)
		}
	}
	return all, nil
}

// figure returns the measurements of a benchmark in a unit.
func (all benchmarks) figure(name, unit string, show func(float64) string) (figure, error) {
	values := all[name][unit]
	if len(values) == 0 {
		return figure{}, fmt.Errorf("benchmark %s reported no %s", name, unit)
	}
	return medianOf(show, values...), nil
}

// fill adds to the rows the events/s and the allocations of their benchmarks.
func (all benchmarks) fill(rows []benchRow) ([]row, error) {
	var done []row
	for _, r := range rows {
		var err error
		if r.value, err = all.figure(r.bench, "events/s", rate); err != nil {
			return nil, err
		}
		if allocs := all[r.bench]["allocs/op"]; len(allocs) > 0 && r.allocsOf > 0 {
			each := medianOf(rate, allocs...).median / float64(r.allocsOf)
			r.extra = strings.TrimPrefix(r.extra+"; "+strconv.FormatFloat(each, 'f', -1, 64)+" allocations per event", "; ")
		}
		done = append(done, r.row)
	}
	return done, nil
}

// benchRow is a row whose figure comes from a benchmark. allocsOf is the number of
// events in one operation; 0 leaves allocations out.
type benchRow struct {
	bench    string
	allocsOf int
	row
}
