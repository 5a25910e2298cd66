// Package build tells which release of EventFlux a program contains: the eventflux command,
// or a program that imports the module.
package build

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
)

// release is the version that the linker was given, as v1.2.3 or 1.2.3:
//
//	go build -ldflags "-X github.com/eventflux/eventflux/shared/ops/build.release=v1.2.3" ./cmd/eventflux
//
// It is for builds that do not know the repository's tags, such as those of containers.
var release string

// module is the path of the module that this package is part of.
const module = "github.com/eventflux/eventflux"

// Info is what is known of the program. Fields that the build did not record are empty.
type Info struct {
	Version  string `json:"version"` // of the module, or as the linker was told; "(devel)" where neither is known
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the working tree had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read returns what the running program knows of its build.
func Read() Info {
	v := Info{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = untagged(moduleVersion(info))
	if release != "" {
		v.Version = "v" + strings.TrimPrefix(release, "v")
	}
	if info.Main.Path != module { // what follows describes the program that imports this module
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// moduleVersion returns the version of this module in a build, which may be a user's program.
func moduleVersion(info *debug.BuildInfo) string {
	for _, dep := range info.Deps {
		if dep.Path == module {
			if dep.Replace != nil {
				return cmp.Or(dep.Replace.Version, "(devel)")
			}
			return dep.Version
		}
	}
	return info.Main.Version
}

// untagged gives a build without a tag of the repository the major version of its source:
// Go calls it v0.0.0-DATE-REVISION, which does not say what it reads and writes.
func untagged(v string) string {
	if rest, ok := strings.CutPrefix(v, "v0.0.0-"); ok {
		return fmt.Sprintf("v%d.0.0-0.%s", control.MajorVersion, rest)
	}
	return v
}

// Semver returns the version in the form that the NATS service registry and the other
// members of a cluster read: a semantic version.
func (v Info) Semver() string {
	if text, ok := strings.CutPrefix(v.Version, "v"); ok && text != "" {
		return text
	}
	return fmt.Sprintf("%d.0.0-devel", control.MajorVersion)
}
