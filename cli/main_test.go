package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// run runs a command line whose words are separated by spaces.
func run(commandLine, stdin string) (stdout, stderr string, code int) {
	var out, errOut bytes.Buffer
	code = execute(strings.Fields(commandLine), strings.NewReader(stdin), &out, &errOut)
	return out.String(), errOut.String(), code
}

// TestScripts runs testdata/*.txt, each in a folder of its own:
//
//	file name=N   makes a file of the input
//	cli           runs the command line in the first line of the input, the rest
//	              being its standard input
func TestScripts(t *testing.T) {
	unsetSettings(t)
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		script, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Chdir(t.TempDir())
			datadriven.RunTest(t, script, runScript)
		})
	}
}

// unsetSettings removes the tester's own settings from the environment.
func unsetSettings(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "EVENTFLUX_") {
			t.Setenv(name, "") // puts the value back at the end
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func runScript(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "file":
		var name string
		d.ScanArgs(t, "name", &name)
		if err := os.WriteFile(name, []byte(d.Input+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return ""
	case "cli":
		commandLine, stdin, _ := strings.Cut(d.Input, "\n")
		stdout, stderr, code := run(commandLine, stdin)
		var b strings.Builder
		b.WriteString(stdout)
		lines := bufio.NewScanner(strings.NewReader(stderr))
		for lines.Scan() {
			fmt.Fprintf(&b, "stderr: %s\n", lines.Text())
		}
		fmt.Fprintf(&b, "exit %d\n", code)
		return b.String()
	default:
		d.Fatalf(t, "unknown command")
		return ""
	}
}
