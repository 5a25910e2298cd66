package replay

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const (
	backfillBefore = `@app:name('A') define stream S (k string, v int); from S[v > 90] select k, v insert into High;`
	// The stream has another form in between.
	backfillMiddle = `@app:name('A') define stream S (v int, k string); from S[v > 90] select k, v insert into High;`
	backfillAfter  = `@app:name('A') define stream S (v long, k string); from S[v > 90] select k, v insert into High;
		@info(name='new') from S#window.time(20) select k, sum(v) as total group by k insert into New;`
)

// backfillInput has two upgrades, the second of them with a backfill. data writes an event for a version.
func backfillInput(first, second string) string {
	var b strings.Builder
	for i := range 90 {
		ts, k, v := 1+i*3, fmt.Sprint("k", i%4), i*i%101
		switch {
		case i == 30:
			fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(first, "TS", fmt.Sprint(ts)))
		case i == 60:
			fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(second, "TS", fmt.Sprint(ts)))
		}
		fmt.Fprintf(&b, `{"stream":"S","ts":%d,"data":{"k":%q,"v":%d}}`+"\n", ts, k, v)
	}
	return b.String()
}

// backfilled returns the rows of stream New, from the event in line number on.
func backfilled(t *testing.T, text, input string, opt Options) (rows []string, err error) {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = Run([]*siddhiql.Plan{plan}, "events", strings.NewReader(input), &out, opt)
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, `"stream":"New"`) {
			continue
		}
		var at int
		_, rest, _ := strings.Cut(line, `"input":`)
		if _, err := fmt.Sscan(strings.TrimRight(strings.SplitN(rest, ",", 2)[0], "}\n"), &at); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		row, _, _ := strings.Cut(line, `,"chunk"`)
		if at > 60 {
			rows = append(rows, row)
		}
	}
	return rows, err
}

// An upgrade with a backfill gives the later rows of an app that had the query from the first line on,
// also if the state is taken out and put back after each line.
func TestBackfillLine(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"middle": backfillMiddle, "after": backfillAfter} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const middle, after = `{"op":"upgrade","app":"middle","ts":TS}`, `{"op":"upgrade","app":"after","ts":TS,"backfill":true}`
	want, err := backfilled(t, backfillAfter, backfillInput(`{"ts":TS}`, `{"ts":TS}`), Options{})
	if err != nil || len(want) == 0 {
		t.Fatal(want, err)
	}
	input := backfillInput(middle, after)
	again := func(input string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(input)), nil }
	}
	for _, every := range []int{0, 1} {
		got, err := backfilled(t, backfillBefore, input, Options{Dir: dir, Again: again(input), RestartEvery: every})
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("restart every %d: %v\n%s\nwant\n%s", every, err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	empty, err := backfilled(t, backfillBefore, backfillInput(middle, strings.Replace(after, "true", "false", 1)), Options{Dir: dir})
	if err != nil || strings.Join(empty, "\n") == strings.Join(want, "\n") {
		t.Errorf("without a backfill the rows are the same, %v", err)
	}
	for says, in := range map[string]string{
		"use --events FILE":                           input,
		"cannot read across a":                        backfillInput(`{"op":"reset","ts":TS}`, after),
		"expected true or false":                      backfillInput(middle, strings.Replace(after, "true", "1", 1)),
		`has "drop" or "backfill" without an upgrade`: backfillInput(`{"ts":TS,"backfill":true}`, after),
	} {
		opt := Options{Dir: dir, Again: again(in)}
		if strings.Contains(says, "FILE") {
			opt.Again = nil
		}
		if _, err := backfilled(t, backfillBefore, in, opt); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
