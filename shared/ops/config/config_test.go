package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/spf13/pflag"

	"github.com/eventflux/eventflux/shared/ops/config"
)

func TestLoad(t *testing.T) {
	datadriven.RunTest(t, "testdata/load.txt", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "load" {
			d.Fatalf(t, "unknown command")
		}
		var environ, flags []string
		path := writeFile(t, d.Input)
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "env":
				environ = append(environ, arg.Vals...)
			case "flags":
				flags = append(flags, arg.Vals...)
			case "via":
				environ = append(environ, "EVENTFLUX_CONFIG="+path)
				path = ""
			}
		}
		if path != "" {
			flags = append(flags, "--config="+path)
		}
		out := listing(t, environ, flags)
		return strings.ReplaceAll(out, filepath.Dir(path)+"/", "")
	})
}

// listing loads and returns what is not a default, or the problems.
func listing(t *testing.T, environ, flags []string) string {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse(flags); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(fs, environ)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, s := range c.Settings() {
		if s.Source != config.FromDefault {
			fmt.Fprintf(&b, "%s=%s (%s)\n", s.Name, s.Value, s.Source)
		}
	}
	if b.Len() == 0 {
		return "all defaults\n"
	}
	return b.String()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	if text == "" {
		return ""
	}
	path := filepath.Join(t.TempDir(), "eventflux.yaml")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What config print writes is a configuration file that gives the same settings.
func TestPrintedFileLoads(t *testing.T) {
	first := config.Default()
	var b strings.Builder
	if err := first.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse([]string{"--config", writeFile(t, b.String())}); err != nil {
		t.Fatal(err)
	}
	second, err := config.Load(fs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range second.Settings() {
		if want := first.Settings()[i]; s.Value != want.Value || s.Source != config.FromFile {
			t.Errorf("%s is %q from %s, want %q from the file", s.Name, s.Value, s.Source, want.Value)
		}
	}
}

func TestSizeForAPerson(t *testing.T) {
	for n, want := range map[config.Size]string{
		0: "0 B", 1023: "1023 B", 1 << 10: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 2560 << 30: "2560.0 GiB",
	} {
		if got := n.Rounded(); got != want {
			t.Errorf("%d bytes are %q, want %q", int64(n), got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		text  string
		bytes config.Size
		back  string
	}{
		{"0", 0, "0"},
		{"1023", 1023, "1023"},
		{"1KiB", 1024, "1KiB"},
		{"1048576", 1 << 20, "1MiB"},
		{"64 mib", 64 << 20, "64MiB"},
		{"2GB", 2e9, "1953125KiB"},
		{"1500MiB", 1500 << 20, "1500MiB"},
		{"2kB", 2000, "2000"},
		{"8TiB", 8 << 40, "8TiB"},
	} {
		got, err := config.ParseSize(c.text)
		if err != nil || got != c.bytes || got.String() != c.back {
			t.Errorf("%q is %d (%s), %v; want %d (%s)", c.text, got, got, err, c.bytes, c.back)
		}
		if again, err := config.ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%s reads back as %d, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1M", "1 2", "0x10", "9223372036854775808", "8388608TiB", "1MiB!"} {
		if n, err := config.ParseSize(text); err == nil {
			t.Errorf("%q is accepted as %d", text, n)
		}
	}
}
