package state_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state"
)

// upgraded is a book whose lines were in small letters up to 2.1.
type upgraded struct{ *book }

func (u upgraded) Migrate(from *semver.Version, key, value []byte) ([]byte, []byte, error) {
	if from.Major() != 2 || strings.Contains(string(value), "!") {
		return nil, nil, errors.New("cannot be")
	}
	return key, []byte(strings.ToUpper(string(value))), nil
}

func init() {
	suffix := func(s string) func(*semver.Version, []byte, []byte) ([]byte, []byte, error) {
		return func(from *semver.Version, key, value []byte) ([]byte, []byte, error) {
			return append([]byte(s), key...), append(append([]byte{}, value...), " of "+from.String()...), nil
		}
	}
	state.RegisterMigration(state.Migration{Type: "book", From: 0, To: semver.MustParse("1.0.0"), Entry: suffix("x")})
	state.RegisterMigration(state.Migration{Type: "book", From: 1, To: semver.MustParse("2.1.0"), Entry: suffix("y")})
}

// stored is the state of a book with one line, as some version wrote it.
func stored(t *testing.T, version, line string) []byte {
	t.Helper()
	b := newBook()
	b.put("k", line)
	data, err := state.SerializeState(state.NewComponent(bookInfo(version), b))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVersionsThatLoad(t *testing.T) {
	for version, want := range map[string]string{
		"2.2.0": "k=line ",
		"2.2.9": "k=line ",
		"2.1.7": "k=LINE ",
		"2.0.0": "k=LINE ",
		"1.5.0": "yk=LINE OF 1.5.0 ",
		"0.9.1": "yxk=LINE OF 0.9.1 OF 1.0.0 ",
	} {
		c := state.NewComponent(bookInfo("2.2.3"), upgraded{newBook()})
		if err := state.DeserializeState(c, stored(t, version, "line")); err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if got := show(c.Snapshot().Changes()); got != want {
			t.Errorf("%s: got %q, want %q", version, got, want)
		}
		if err := c.CompatibleWith(semver.MustParse(version)); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestVersionsThatAreRefused(t *testing.T) {
	for version, advice := range map[string]string{
		"2.3.0": "or a newer one",
		"3.0.0": "or a newer one",
	} {
		b := newBook()
		b.put("stays", "1")
		c := state.NewComponent(bookInfo("2.2.3"), b)
		for _, err := range []error{
			state.DeserializeState(c, stored(t, version, "line")),
			c.CompatibleWith(semver.MustParse(version)),
		} {
			var wrong *state.VersionError
			if !errors.As(err, &wrong) || !errors.Is(err, state.ErrVersion) {
				t.Errorf("%s: %v", version, err)
				continue
			}
			for _, part := range []string{"query1/book", version, "2.2.3", advice} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: %q is missing", err, part)
				}
			}
		}
		if b.lines["stays"] != "1" {
			t.Errorf("%s: the state is gone", version)
		}
	}
	older := state.Info{ID: "q/other", Type: "other", Version: semver.MustParse("1.0.0")}
	known := state.Info{ID: "q/other", Type: "other", Version: semver.MustParse("2.0.0")}
	if err := state.CheckCompatible(older, known); err == nil || !strings.Contains(err.Error(), "register a migration") {
		t.Errorf("an older major version without a migration: %v", err)
	}
}

// Entries of two versions must never meet in a chain: after a migration, the next
// checkpoint has to be a full one.
func TestNoDeltaAfterMigration(t *testing.T) {
	b := newBook()
	c := state.NewComponent(bookInfo("2.2.0"), upgraded{b})
	entries := []state.Entry{{[]byte("k"), []byte("line")}}
	if err := c.Load(5, semver.MustParse("2.1.0"), 1, state.Hash(entries)); err != nil {
		t.Fatal(err)
	}
	for epoch := state.Epoch(6); epoch <= 7; epoch++ { // 6 is aborted
		c.Cut(epoch)
		if _, err := c.Delta(5); !errors.Is(err, state.ErrPruned) {
			t.Fatalf("delta between two versions at epoch %d: %v", epoch, err)
		}
	}
	c.Committed(7)
	b.put("k", "next")
	c.Cut(8)
	checkDelta(t, c, 7, "k=next ")
}

func TestFailedMigrationNamesTheEntry(t *testing.T) {
	c := state.NewComponent(bookInfo("2.2.0"), upgraded{newBook()})
	err := state.DeserializeState(c, stored(t, "2.1.0", "line!"))
	if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), `entry "k": migrate from 2.1.0 to 2.2.0: cannot be`) {
		t.Errorf("got %v", err)
	}
}

func TestMigrationsAreChecked(t *testing.T) {
	entry := func(_ *semver.Version, k, v []byte) ([]byte, []byte, error) { return k, v, nil }
	two := semver.MustParse("2.0.0")
	for name, m := range map[string]state.Migration{
		"taken":     {Type: "book", From: 1, To: two, Entry: entry},
		"backwards": {Type: "checked", From: 2, To: two, Entry: entry},
		"no code":   {Type: "checked", From: 1, To: two},
		"no target": {Type: "checked", From: 1, Entry: entry},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered", name)
				}
			}()
			state.RegisterMigration(m)
		}()
	}
}
