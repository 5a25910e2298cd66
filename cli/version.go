package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/control"
)

// release is the version that the linker was given, as v1.2.3 or 1.2.3:
//
//	go build -ldflags "-X github.com/eventflux/eventflux/cli.release=v1.2.3" ./cmd/eventflux
//
// It is for builds that do not know the repository's tags, as those of containers.
var release string

// version is what is known of the binary. Fields that the build did not record
// are empty.
type version struct {
	Version  string `json:"version"` // of the module, or as the linker was told; "(devel)" where neither is known
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the working tree had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printVersion(cmd.OutOrStdout(), readVersion(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func readVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = untagged(moduleVersion(info))
	if release != "" {
		v.Version = "v" + strings.TrimPrefix(release, "v")
	}
	if info.Main.Path != module { // what follows is of the program that imports this one
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

// module is the path of the module that this package is part of.
const module = "github.com/eventflux/eventflux"

// moduleVersion returns the version of eventflux in a build, which may be the program of a
// user that imports it.
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
// Go calls it v0.0.0-DATE-REVISION, which says nothing of what it reads and writes.
func untagged(v string) string {
	if rest, ok := strings.CutPrefix(v, "v0.0.0-"); ok {
		return fmt.Sprintf("v%d.0.0-0.%s", control.MajorVersion, rest)
	}
	return v
}

// semver returns the version for the NATS service registry, which takes only
// semantic versions.
func (v version) semver() string {
	if text, ok := strings.CutPrefix(v.Version, "v"); ok && text != "" {
		return text
	}
	return fmt.Sprintf("%d.0.0-devel", control.MajorVersion)
}

func printVersion(w io.Writer, v version, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(v)
	}
	text := "eventflux " + v.Version
	if v.Revision != "" {
		text += " " + v.Revision
	}
	if v.Modified {
		text += " (modified)"
	}
	_, err := fmt.Fprintf(w, "%s %s %s\n", text, v.Go, v.Platform)
	return err
}
