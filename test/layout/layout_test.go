// Package layout checks that packages import only their own layer and lower ones.
package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/eventflux/eventflux/"

// layers are the folders from bottom to top. A package may import its own layer and those below it.
var layers = []string{"shared/state", "shared/lang", "shared/log", "shared/control", "shared/ops", "services", "cli", "cmd"}

// leaves are packages that any other may import. They import none of ours.
var leaves = []string{"shared/ops/secret", "shared/ops/space", "shared/testing/faultpoint", "shared/testing/invariant", "shared/testing/scribble"}

type goPackage struct {
	ImportPath    string
	Imports, Deps []string
}

func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("%v: %v\n%s", cmd, err, failed.Stderr)
		}
		t.Fatal(err)
	}
	all := map[string]goPackage{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := dec.Decode(&p); {
		case err == io.EOF:
			return all
		case err != nil:
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

// layerOf returns the index of a package's layer, or -1.
func layerOf(path string) int {
	return slices.IndexFunc(layers, func(l string) bool { return path == l || strings.HasPrefix(path, l+"/") })
}

func TestImportsGoOneWay(t *testing.T) {
	for path, p := range packages(t) {
		for _, imported := range p.Imports {
			imported, own := strings.CutPrefix(imported, module)
			switch {
			case !own || layerOf(path) < 0:
			case slices.Contains(leaves, path):
				t.Errorf("%s imports %s, but any package may import it, so it may import none", path, imported)
			case slices.Contains(leaves, imported):
			case layerOf(imported) < 0:
				t.Errorf("%s imports %s, which is for tests", path, imported)
			case layerOf(imported) > layerOf(path):
				t.Errorf("%s imports %s, which lies above it; the order is %s", path, imported, strings.Join(layers, ", "))
			}
		}
	}
}

// TestServicesAreApart: services talk over NATS only.
func TestServicesAreApart(t *testing.T) {
	service := func(path string) string {
		rest, ok := strings.CutPrefix(path, "services/")
		name, _, _ := strings.Cut(rest, "/")
		if !ok {
			return ""
		}
		return name
	}
	for path, p := range packages(t) {
		for _, dep := range p.Deps {
			if s := service(strings.TrimPrefix(dep, module)); s != "" && service(path) != "" && s != service(path) {
				t.Errorf("%s depends on %s", path, dep)
			}
		}
	}
}

// TestWhatIsNotLinked: some parts must not depend on others, not even indirectly.
func TestWhatIsNotLinked(t *testing.T) {
	for path, p := range packages(t) {
		for _, rule := range []struct{ part, without string }{
			{"shared/lang", "github.com/nats-io/"},
			{"shared/lang", "github.com/redis/"},
			{"shared/lang", "github.com/aws/"},
			{"shared/lang", "google.golang.org/api"},
			{"shared/lang", "github.com/Azure/"},
			{"services/ingest", "github.com/redis/"},
			{"services/ingest", "github.com/aws/"},
			{"services/ingest", "google.golang.org/api"},
			{"services/ingest", "github.com/Azure/"},
			{"shared/ops/obs", module + "shared/state/store"},
		} {
			if path != rule.part && !strings.HasPrefix(path, rule.part+"/") {
				continue
			}
			for _, dep := range p.Deps {
				if strings.HasPrefix(dep, rule.without) {
					t.Errorf("%s depends on %s", path, dep)
				}
			}
		}
	}
}
