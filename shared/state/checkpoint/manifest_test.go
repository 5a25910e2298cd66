package checkpoint

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

type object = store.Object

var rewriteGolden = flag.Bool("rewrite-golden", false, "write golden files that are not there yet")

func sampleManifest() *Manifest {
	return &Manifest{
		App: "Flights", Plan: "c0ffee", Generation: 1, Epoch: 42, Term: 3,
		Time: time.Date(2026, 11, 27, 12, 0, 0, 5e6, time.UTC),
		Partitions: []Partition{{
			Assignment: 17, Clock: 1000,
			Log:    Lineage{Stream: "EFW_Flights_0", Created: time.Date(2026, 11, 27, 11, 0, 0, 1, time.UTC), Sequence: 99, ID: ID{1, 2, 3}, CRC: 7},
			Output: Output{Stream: "EFO_Flights_0", Sequence: 55, Positions: map[string]string{"Out": "98.3"}},
			Components: []Component{
				{ID: "a/window", Type: "window/length", Version: "1.0.0", Digest: state.Digest{1}, Runs: []Run{
					{Name: strings.Repeat("ab", 32), Kind: Base, Epoch: 40, Entries: 3, RawBytes: 300, Bytes: 100, Blocks: 1},
					{Name: strings.Repeat("cd", 32), Kind: Delta, Epoch: 42, Entries: 1, RawBytes: 90, Bytes: 80, Blocks: 1},
				}},
				{ID: "clock", Type: "clock", Version: "1.0.0", Digest: state.Digest{2}, Runs: []Run{}},
			},
		}},
	}
}

// skippingManifest is of format 2.
func skippingManifest() *Manifest {
	m := sampleManifest()
	m.Partitions[0].Skipped = []Skipped{
		{Sequence: 101, SHA256: strings.Repeat("ef", 32), Reason: "it is no frame"},
		{Sequence: 104, SHA256: strings.Repeat("01", 32), Reason: "it is of another log"},
	}
	return m
}

// changedManifest is of format 3.
func changedManifest() *Manifest {
	m := skippingManifest()
	m.Partitions[0].Version, m.Partitions[0].Plan = 2, "beef"
	return m
}

// packedManifest is of format 4.
func packedManifest() *Manifest {
	m := sampleManifest()
	r := &m.Partitions[0].Components[0].Runs[1]
	r.Pack, r.Offset, r.PackBytes = strings.Repeat("23", 32), 105, 300
	return m
}

func TestManifestGolden(t *testing.T) {
	for file, m := range map[string]*Manifest{
		"testdata/manifest-1.json": sampleManifest(), "testdata/manifest-2.json": skippingManifest(),
		"testdata/manifest-3.json": changedManifest(), "testdata/manifest-4.json": packedManifest(),
	} {
		t.Run(file, func(t *testing.T) { checkManifestGolden(t, file, m) })
	}
}

func checkManifestGolden(t *testing.T, file string, sample *Manifest) {
	t.Helper()
	data, err := sample.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if *rewriteGolden {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, data, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(golden, data) {
		t.Errorf("the manifest is written as\n%s\nnot as\n%s", data, golden)
	}
	m, err := DecodeManifest(file, golden)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.Encode(); err != nil || !bytes.Equal(again, golden) {
		t.Errorf("read and written it is\n%s (%v)", again, err)
	}
}

// A manifest that was edited by hand is refused, even with a new digest.
func TestEditedManifestIsRefused(t *testing.T) {
	whole, err := sampleManifest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for _, bad := range [][]byte{whole[:i], append(append(bytes.Clone(whole[:i]), whole[i]^1), whole[i+1:]...)} {
			if _, err := DecodeManifest("m", bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("altered at %d: %v", i, err)
			}
		}
	}
	for what, edit := range map[string]func(*Manifest){
		"no epoch":                   func(m *Manifest) { m.Epoch = 0 },
		"partitions":                 func(m *Manifest) { m.Partitions[0].Partition = 1 },
		"chain without base":         func(m *Manifest) { c := &m.Partitions[0].Components[0]; c.Runs = c.Runs[1:] },
		"order":                      func(m *Manifest) { c := m.Partitions[0].Components; c[0], c[1] = c[1], c[0] },
		"version":                    func(m *Manifest) { m.Partitions[0].Components[0].Version = "1" },
		"skipped before the barrier": func(m *Manifest) { m.Partitions[0].Skipped = []Skipped{{99, strings.Repeat("ef", 32), "x"}} },
		"skipped twice": func(m *Manifest) {
			s := Skipped{100, strings.Repeat("ef", 32), "x"}
			m.Partitions[0].Skipped = []Skipped{s, s}
		},
		"skipped without hash":    func(m *Manifest) { m.Partitions[0].Skipped = []Skipped{{100, "", "x"}} },
		"skipped without reason":  func(m *Manifest) { m.Partitions[0].Skipped = []Skipped{{100, strings.Repeat("ef", 32), ""}} },
		"a version without plan":  func(m *Manifest) { m.Partitions[0].Version = 2 },
		"version 1 by its number": func(m *Manifest) { m.Partitions[0].Version, m.Partitions[0].Plan = 1, "c0ffee" },
		"a pack without a hash":   func(m *Manifest) { packedRun(m).Pack = "23" },
		"a place without a pack":  func(m *Manifest) { packedRun(m).Pack = "" },
		"a run beyond its pack":   func(m *Manifest) { packedRun(m).Offset = 221 },
		"a run before the first":  func(m *Manifest) { packedRun(m).Offset = 4 },
		"blocks outside a pack":   func(m *Manifest) { packedRun(m).Blocks = 2 },
		"a pack over the limit":   func(m *Manifest) { packedRun(m).PackBytes = store.ObjectBytesMax + 1 },
		"run name":                func(m *Manifest) { m.Partitions[0].Components[0].Runs[0].Name = "../../etc" },
	} {
		m := packedManifest()
		edit(m)
		if _, err := m.Encode(); err == nil {
			t.Errorf("%s: written", what)
		}
		m.Format = m.format()
		m.Digest, _ = m.sum()
		data, _ := m.json()
		if _, err := DecodeManifest("m", data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for format, m := range map[int]*Manifest{2: skippingManifest(), 3: changedManifest(), 4: packedManifest()} {
		m.Format = format - 1 // an older program must not read it as if it knew everything in it
		m.Digest, _ = m.sum()
		data, _ := m.json()
		if _, err := DecodeManifest("m", data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("format %d as %d: %v", format, format-1, err)
		}
	}
	if _, err := DecodeManifest("m", []byte(`{"format":5}`)); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer format: %v", err)
	}
}

func packedRun(m *Manifest) *Run { return &m.Partitions[0].Components[0].Runs[1] }

func FuzzDecodeManifest(f *testing.F) {
	for _, m := range []*Manifest{sampleManifest(), packedManifest()} {
		data, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest("m", data)
		if err != nil {
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s was read, and is written as %s (%v)", data, again, err)
		}
	})
}
