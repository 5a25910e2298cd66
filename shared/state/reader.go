package state

import (
	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// reader reads serialized state.
type reader struct {
	wire.Reader
}

// corruption returns the first error, for the component that it names.
func (r *reader) corruption(component string) error {
	if at, ok := r.Err().(*wire.Error); ok {
		return &CorruptError{component, at.What, at.Offset}
	}
	return r.Err()
}

func (r *reader) name() string {
	at := r.Offset()
	name := r.Sized()
	if !r.Failed() && (len(name) == 0 || len(name) > NameBytesMax) {
		r.FailAt(at, "a name of %d bytes, allowed are 1 to %d", len(name), NameBytesMax)
	}
	return string(name)
}

func (r *reader) version() *semver.Version {
	at := r.Offset()
	text := r.name()
	if r.Failed() {
		return nil
	}
	v, err := semver.StrictNewVersion(text)
	if err != nil || v.String() != text {
		r.FailAt(at, "schema version %q is none", text)
	}
	return v
}
