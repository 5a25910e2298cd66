package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
)

var sampleInfo = Info{App: "a", Plan: "p", Checkpoint: 7, Settings: engine.Settings{DedupWindow: 1000}, Version: "1.0.0", Logs: []Log{{From: 8, To: 9}}, Made: "2026-01-02T03:04:05Z"}

// sample is a small file with a record of each kind.
func sample(t testing.TB) []byte {
	return file(t, sampleInfo, Record{KindApp, "", []byte("define stream S (v int);")})
}

// changed is the same of an app whose partitions have two versions.
func changed(t testing.TB) []byte {
	info := sampleInfo
	info.Versions = []Version{
		{Number: 1, Plan: "p", Settings: info.Settings},
		{Number: 3, Plan: "q", Change: `{"drop":["q/window"]}`, Settings: info.Settings},
	}
	return file(t, info, Record{KindApp, "1", []byte("define stream S (v int);")}, Record{KindApp, "3", []byte("define stream S (v long);")})
}

// backfilled is the same with the frames before the checkpoint that a change reads.
func backfilled(t testing.TB) []byte {
	info := sampleInfo
	info.Logs = []Log{{From: 9, To: 9, First: 8}}
	return file(t, info, Record{KindApp, "", []byte("define stream S (v int);")})
}

func file(t testing.TB, info Info, apps ...Record) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, &info)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range append(apps, []Record{
		{KindManifest, "", []byte("{}")},
		{KindObject, "runs/00", bytes.Repeat([]byte{1}, 300)},
		{KindObject, "blocks/01", nil},
		{KindFrame, "0/8", []byte("eight")},
		{KindFrame, "0/9", []byte("nine")},
	}...) {
		if err := w.Add(r.Kind, r.Name, r.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns all records as text, and why it ended.
func read(data []byte) (lines []string, err error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, fmt.Sprintf("%d %s %s", rec.Kind, rec.Name, rec.Data))
	}
}

// Files of each format stay readable forever.
func TestGolden(t *testing.T) {
	for golden, x := range map[string]struct {
		data  []byte
		lines int
	}{"testdata/export-1.efx": {sample(t), 7}, "testdata/export-2.efx": {changed(t), 8}, "testdata/export-3.efx": {backfilled(t), 7}} {
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x.data, want) {
			t.Errorf("%s: what is written is not what was written", golden)
		}
		if lines, err := read(want); err != nil || len(lines) != x.lines || lines[x.lines-1] != "5 0/9 nine" {
			t.Errorf("%s: %q, %v", golden, lines, err)
		}
	}
}

// Every bit that flips and every byte that is missing is noticed.
func TestEveryDamageIsNoticed(t *testing.T) {
	for _, data := range [][]byte{sample(t), changed(t), backfilled(t)} {
		testDamage(t, data)
	}
}

func testDamage(t *testing.T, data []byte) {
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := read(bad); !errors.Is(err, ErrCorrupt) && !(i == len(magic) && errors.Is(err, ErrVersion)) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		if _, err := read(data[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := read(append(bytes.Clone(data), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

// Whatever the bytes, reading ends with an error or all of what was written.
func FuzzRead(f *testing.F) {
	f.Add(sample(f))
	f.Add(changed(f))
	f.Add(backfilled(f))
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x01\x01\x00\xff\xff\xff\x1f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := read(data)
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("%q, %v", lines, err)
		}
	})
}
