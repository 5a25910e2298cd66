package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const app = `define stream Quakes (place string, mag double);
@info(name = 'recent')
from Quakes#hop(3, 2)
select spread(mag) as spread, clamp(max(mag), 0.0, 5.0) as most
insert into Recent;`

const events = `{"stream":"Quakes","ts":1,"data":["a",1.5]}
{"stream":"Quakes","ts":2,"data":["b",2.0]}
{"stream":"Quakes","ts":3,"data":["c",7.5]}
{"stream":"Quakes","ts":4,"data":["d",4.0]}
`

const want = `{"query":"recent","stream":"Recent","kind":"current","ts":2,"data":[0.5,2],"chunk":1,"input":2,"clock":2}
{"query":"recent","stream":"Recent","kind":"current","ts":4,"data":[5.5,5],"chunk":2,"input":4,"clock":4}
`

// TestMain runs the program itself where a test started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// program runs the program with an app and events in files.
func program(t *testing.T, app string, command ...string) (stdout, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"app.siddhi": app, "events.ndjson": events} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, command...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "RUN_PROGRAM=1")
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func TestOwnPartsOfTheLanguage(t *testing.T) {
	stdout, stderr, err := program(t, app, "replay", "app.siddhi", "--events", "events.ndjson")
	if err != nil {
		t.Fatal(err, stderr)
	}
	if stdout != want {
		t.Errorf("got\n%swant\n%s", stdout, want)
	}
}

func TestWrongParametersAreRefused(t *testing.T) {
	wrong := strings.Replace(app, "hop(3, 2)", "hop(3)", 1)
	_, stderr, err := program(t, wrong, "app", "check", "app.siddhi")
	if err == nil || !strings.Contains(stderr, "hop(size int, step int)") {
		t.Errorf("got %v and %q, want the usage of hop", err, stderr)
	}
}
