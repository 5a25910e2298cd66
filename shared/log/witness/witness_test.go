package witness

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite-golden", false, "write the golden file; only correct for a new format")

var made = time.Unix(1_700_000_000, 123456789).UTC()

func open(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func logOf(t *testing.T, f *Folder, created time.Time) *Log {
	t.Helper()
	l, err := f.Log("EFW_A_0", created)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A record survives a process that neither closed nor synced the folder, as after a kill.
func TestRecordOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	l := logOf(t, open(t, dir), made)
	for seq := range uint64(7) {
		if err := l.Record(seq+1, uint32(100+seq)); err != nil {
			t.Fatal(err)
		}
		ends, damaged, err := open(t, dir).Ends()
		if err != nil || len(damaged) > 0 {
			t.Fatal(err, damaged)
		}
		if e := ends["EFW_A_0"]; e.Seq != seq+1 || e.CRC != uint32(100+seq) || !e.Created.Equal(made) || e.Boot != Boot() {
			t.Fatalf("after %d: %+v", seq+1, e)
		}
	}
}

// Several writers append to a log, and their acknowledgements overtake each other.
func TestOnlyTheEndCounts(t *testing.T) {
	l := logOf(t, open(t, t.TempDir()), made)
	for _, seq := range []uint64{3, 2, 5, 4} {
		if err := l.Record(seq, uint32(seq)); err != nil {
			t.Fatal(err)
		}
	}
	if e := l.End(); e.Seq != 5 || e.CRC != 5 {
		t.Errorf("%+v", e)
	}
}

// A stream that was deleted and made again is another log, and so is its end.
func TestAnotherStreamBeginsAgain(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	if err := logOf(t, f, made).Record(9, 1); err != nil {
		t.Fatal(err)
	}
	later := made.Add(time.Second)
	if err := logOf(t, f, later).Record(1, 2); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	if e := logOf(t, other, later).End(); e.Seq != 1 || !e.Created.Equal(later) {
		t.Errorf("%+v", e)
	}
	if err := other.Remove("EFW_A_0"); err != nil {
		t.Fatal(err)
	}
	if ends, damaged, err := other.Ends(); err != nil || len(ends)+len(damaged) > 0 {
		t.Errorf("after its removal: %v %v %v", ends, damaged, err)
	}
}

// Either record may be damaged: the other one is used. If both are damaged, or the file is of
// another log, there is no end.
func TestDamageIsNoticed(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	l := logOf(t, f, made)
	for seq := range uint64(2) {
		if err := l.Record(seq+1, 1); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(filepath.Join(dir, "EFW_A_0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode("EFW_B_0", whole); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another log: %v", err)
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			e, err := Decode("EFW_A_0", b)
			if err != nil || e.Seq != 1 && e.Seq != 2 {
				t.Fatalf("bit %d of byte %d: %+v, %v", bit, i, e, err)
			}
		}
	}
	for n := range whole {
		if _, err := Decode("EFW_A_0", whole[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := Decode("EFW_A_0", make([]byte, fileBytes)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("zeros: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "EFW_A_0"), whole[:5], 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if _, damaged, err := again.Ends(); err != nil || damaged["EFW_A_0"] == nil {
		t.Errorf("damaged: %v, %v", damaged, err)
	}
	if err := logOf(t, again, made).Record(12, 3); err != nil {
		t.Fatal(err)
	}
	if ends, _, err := open(t, dir).Ends(); err != nil || ends["EFW_A_0"].Seq != 12 {
		t.Errorf("after the next record: %v, %v", ends, err)
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	file := make([]byte, fileBytes)
	var record [recordBytes]byte
	encode(&record, nameSum("EFW_A_0"), 1, &End{Created: made, Seq: 1})
	record[offsetVersion] = version + 1
	sum(&record)
	copy(file, record[:])
	if _, err := Decode("EFW_A_0", file); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// TestGoldenFile reads what docs/formats/witness.md describes.
func TestGoldenFile(t *testing.T) {
	const name = "testdata/v1"
	want := End{Created: made, Seq: 40, CRC: 0xCAFE0123, Boot: 0x0102030405060708}
	if *rewrite {
		file := make([]byte, fileBytes)
		for i, e := range []End{{Created: made, Seq: 39, CRC: 7, Boot: want.Boot}, want} {
			var record [recordBytes]byte
			encode(&record, nameSum("EFW_A_0"), uint64(39+i), &e)
			copy(file[(39+i)%2*sectorBytes:], record[:])
		}
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode("EFW_A_0", file); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile("testdata/v1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		e, err := Decode("EFW_A_0", file)
		if err == nil && e.Created.IsZero() && e.Seq == 0 && e.CRC == 0 && e.Boot == 0 {
			t.Error("an empty record was accepted")
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	f, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	l, err := f.Log("EFW_A_0", made)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var seq uint64
	for b.Loop() {
		seq++
		if err := l.Record(seq, 1); err != nil {
			b.Fatal(err)
		}
	}
}
