package control

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync"

	"github.com/Masterminds/semver/v3"
	"github.com/nats-io/nats.go"
)

// The headers of requests and answers that say who sends them.
const (
	versionHeader = "Ef-Version"
	senderHeader  = "Ef-Sender"
)

// CodeVersion is the code of the error for whoever has another major version: stop, and
// run what the error names.
const CodeVersion = "426"

// upgrading is where an operator reads on.
const upgrading = "docs/operations.md, Rolling upgrade, has the order"

// Self is this process among the others of a cluster, which may have other versions. It
// may be used concurrently. nil is somebody who says nothing of themselves, as people who
// write requests by hand do, and is told nothing.
type Self struct {
	Version string       // a semver
	Name    string       // which services, and which process, such as "processor p1"
	Log     *slog.Logger // where other versions are said; nil: nowhere

	met sync.Map // name and version of those that were said
}

// MajorVersion is that of this source. It reads what 0.x wrote, and takes over its apps
// where checkpoints cover their logs; versions that differ in it do not work together.
const MajorVersion = 1

// Major returns the major version, within which all versions work together. That is so for
// 0 as well, of which semantic versioning promises nothing.
func Major(version string) (uint64, error) {
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return 0, fmt.Errorf("version %q is none: %w", version, err)
	}
	return v.Major(), nil
}

// Headers say who this is.
func (s *Self) Headers() nats.Header {
	if s == nil {
		return nil
	}
	return nats.Header{versionHeader: {s.Version}, senderHeader: {s.Name}}
}

// Hear takes in who sent a request or an answer, as its headers say; see Meet.
func (s *Self) Hear(h map[string][]string) error {
	return s.Meet(nats.Header(h).Get(senderHeader), nats.Header(h).Get(versionHeader))
}

// Meet takes in that another process has some version, "" if it does not say. The first
// time that this is another one, it goes to the log. It fails with CodeVersion if the two
// must not work together.
func (s *Self) Meet(name, version string) error {
	if s == nil || version == "" || version == s.Version {
		return nil
	}
	name = cmp.Or(name, "somebody")
	mine, err := Major(s.Version)
	if err != nil {
		return err
	}
	theirs, err := Major(version)
	if err != nil {
		return &Error{CodeVersion, fmt.Sprintf("%s says of itself: %v", name, err)}
	}
	_, said := s.met.LoadOrStore(name+" "+version, true)
	if mine != theirs {
		err = &Error{CodeVersion, fmt.Sprintf("%s has version %s, and %s has %s: versions that differ in the first number do not work together; run a version %d.x as %[1]s, or stop all and start all with %[2]s; %[6]s",
			name, version, s.Name, s.Version, mine, upgrading)}
		if !said && s.Log != nil {
			s.Log.Error("another major version is in the cluster, and refused", "this", s.Version, "other", version, "where", name, "err", err)
		}
		return err
	}
	if !said && s.Log != nil {
		s.Log.Warn("another version is in the cluster, which works for as long as an upgrade takes; bring all services to one", "this", s.Version, "other", version, "where", name)
	}
	return nil
}
