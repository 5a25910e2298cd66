package state

import (
	"fmt"
	"sync"

	"github.com/Masterminds/semver/v3"
)

// Migrator is implemented by a Source that cannot Put entries of older minor versions as
// they are.
type Migrator interface {
	// Migrate converts an entry of schema version from to the present version. It must not
	// change key and value, but may return them.
	Migrate(from *semver.Version, key, value []byte) (newKey, newValue []byte, err error)
}

// Migration converts entries of one major version to a later one.
type Migration struct {
	Type string          // of the components that it is for
	From uint64          // the major version that it reads, in all its minors
	To   *semver.Version // what it writes, of a later major version
	// Entry converts an entry of schema version from to version To. It must not change key
	// and value, but may return them.
	Entry func(from *semver.Version, key, value []byte) (newKey, newValue []byte, err error)
}

type migrationKey struct {
	typ   string
	major uint64
}

var (
	migrationsMu sync.RWMutex
	migrations   = map[migrationKey]Migration{}
)

// RegisterMigration lets components load what an older major version wrote. Migrations of a
// type are applied one after another. Call it from an init function; it panics if there is
// one for the version already, or if it leads nowhere.
func RegisterMigration(m Migration) {
	if m.Type == "" || m.To == nil || m.Entry == nil || m.To.Major() <= m.From {
		panic(fmt.Sprintf("migration of %q from %d to %s is not complete", m.Type, m.From, m.To))
	}
	migrationsMu.Lock()
	defer migrationsMu.Unlock()
	key := migrationKey{m.Type, m.From}
	if _, taken := migrations[key]; taken {
		panic(fmt.Sprintf("migration of %q from %d is registered twice", m.Type, m.From))
	}
	migrations[key] = m
}

// CheckCompatible returns nil if the component that known describes can load the state that
// stored describes: the type is the same, the major version is the same or can be migrated,
// and the minor version is not newer. Otherwise it returns a *VersionError, or an
// ErrInvalid for another type.
func CheckCompatible(stored, known Info) error {
	if stored.Type != known.Type {
		return fmt.Errorf("%w: component %q is of type %q, and the state of %q is of type %q",
			ErrInvalid, known.ID, known.Type, stored.ID, stored.Type)
	}
	_, _, err := migrationPath(&known, stored.Version)
	return err
}

// migrationPath returns the migrations that lead from a stored version to the known major
// one, and the version that they lead to.
func migrationPath(known *Info, stored *semver.Version) ([]Migration, *semver.Version, error) {
	migrationsMu.RLock()
	defer migrationsMu.RUnlock()
	if stored == nil {
		return nil, nil, fmt.Errorf("%w: state of component %q without a schema version", ErrInvalid, known.ID)
	}
	var path []Migration
	at := stored
	for at.Major() != known.Version.Major() {
		m, ok := migrations[migrationKey{known.Type, at.Major()}]
		if !ok || at.Major() > known.Version.Major() {
			return nil, nil, &VersionError{known.ID, known.Type, stored, known.Version}
		}
		path = append(path, m)
		at = m.To
	}
	if at.Minor() > known.Version.Minor() {
		return nil, nil, &VersionError{known.ID, known.Type, stored, known.Version}
	}
	return path, at, nil
}

// migrate converts an entry of version stored to one that source can Put.
func migrate(source Source, known *Info, stored *semver.Version, path []Migration, e Entry) (Entry, error) {
	var err error
	at := stored
	for _, m := range path {
		if e.Key, e.Value, err = m.Entry(at, e.Key, e.Value); err != nil {
			return e, fmt.Errorf("migrate from %s to %s: %w", at, m.To, err)
		}
		at = m.To
	}
	if at.Minor() == known.Version.Minor() {
		return e, nil
	}
	migrator, ok := source.(Migrator)
	if !ok {
		return e, nil
	}
	if e.Key, e.Value, err = migrator.Migrate(at, e.Key, e.Value); err != nil {
		return e, fmt.Errorf("migrate from %s to %s: %w", at, known.Version, err)
	}
	return e, nil
}
