package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/shared/testing/redistest"
)

func TestFaultsOfStores(t *testing.T) {
	testFaults(t, map[string]fault{
		"store is not there": {
			fault: func(w *ward) { w.cfg.Store.URL = "file:" + filepath.Join(w.t.TempDir(), "nowhere") },
			check: "store", severity: doctor.Error, meaning: "is not here",
		},
		"store is unknown": {
			fault: func(w *ward) { w.cfg.Store.URL = "other:place" },
			check: "store", severity: doctor.Error, meaning: "does not answer",
		},
		"store may forget": {
			idle: true, fault: func(w *ward) { w.cfg.Store.URL = redistest.Start(w.t).URL() },
			check: "store", severity: doctor.Warning, meaning: "redis keeps nothing on disk",
		},
		"store is not named": {
			fault: func(w *ward) { w.cfg.Store.URL = "" },
			check: "store", severity: doctor.Unknown, meaning: "was not looked at",
		},
	})
}

func TestStoreInMemory(t *testing.T) {
	const memory = "/dev/shm" // exists on most Linux systems
	if _, err := os.Stat(memory); err != nil {
		t.Logf("%s is not there", memory)
		return
	}
	dir, err := os.MkdirTemp(memory, "store")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := open(t, nil)
	w.cfg.Store.URL = "file:" + dir
	if found := text(w.examine()); !strings.Contains(found, "error store "+dir+": it is in memory") {
		t.Error(found)
	}
}
