package control

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync"

	"github.com/Masterminds/semver/v3"
	"github.com/nats-io/nats.go"
)

// The headers of requests and answers that identify their sender.
const (
	versionHeader = "Ef-Version"
	senderHeader  = "Ef-Sender"
)

// CodeVersion is the error code for a process of another major version: it must stop, and the
// operator must run the version that the error names.
const CodeVersion = "426"

// upgrading refers an operator to the documentation.
const upgrading = "docs/operations.md, Rolling upgrade, has the order"

// Self identifies this process to the others of a cluster, which may have other versions. It
// may be used concurrently. A nil *Self sends no identity and ignores the identity of others;
// people who write requests by hand are like that.
type Self struct {
	Version string       // a semver
	Name    string       // which services, and which process, such as "processor p1"
	Log     *slog.Logger // for warnings about other versions; nil for none

	met sync.Map // names and versions that were already logged
}

// MajorVersion is the major version of this source. It reads data of 0.x, and takes over its
// apps if checkpoints cover their logs. Processes of different major versions do not work
// together.
const MajorVersion = 1

// Major returns the major version; all versions with the same one work together. That includes
// 0, which semantic versioning does not promise.
func Major(version string) (uint64, error) {
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return 0, fmt.Errorf("version %q is none: %w", version, err)
	}
	return v.Major(), nil
}

// Headers returns the headers that identify this process.
func (s *Self) Headers() nats.Header {
	if s == nil {
		return nil
	}
	return nats.Header{versionHeader: {s.Version}, senderHeader: {s.Name}}
}

// Hear checks the sender of a request or an answer by its headers; see Meet.
func (s *Self) Hear(h map[string][]string) error {
	return s.Meet(nats.Header(h).Get(senderHeader), nats.Header(h).Get(versionHeader))
}

// Meet records the version of another process, "" if it sends none. The first time that it
// differs, Meet logs it. It fails with CodeVersion if the two must not work together.
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
