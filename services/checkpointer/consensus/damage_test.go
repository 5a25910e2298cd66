package consensus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// A damaged database is an error that names the file and the way out. It is never a
// panic, or a fault that ends the process.
func TestDamagedDatabaseIsNamed(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "log.db")
	s, err := openLog(whole, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(200) {
		if err := s.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string]func([]byte) []byte{
		"empty but for one byte": func([]byte) []byte { return []byte{0} },
		"cut in the middle":      func(b []byte) []byte { return b[:len(b)/2] },
		"cut after three pages":  func(b []byte) []byte { return b[:3*4096] },
		"zeros":                  func(b []byte) []byte { clear(b); return b },
		"zeros behind the metas": func(b []byte) []byte { clear(b[2*4096:]); return b },
		"ones behind the metas": func(b []byte) []byte {
			for i := 2 * 4096; i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log.db")
			if err := os.WriteFile(path, damage(append([]byte(nil), data...)), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := openLog(path, true)
			if err == nil {
				t.Fatal("opened", s.close())
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "eventflux recover APP --adopt") {
				t.Errorf("%v", err)
			}
		})
	}
}
