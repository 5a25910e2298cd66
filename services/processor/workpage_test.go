package processor

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

const workPage = "../../docs/formats/work.md"

// A work file is as its page describes it, and the example on the page can be read.
func TestWorkFileIsAsDescribed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.work")
	w, err := openWork(path, "i1")
	must(t, err)
	must(t, w.add(control.Assigned{App: "A", Index: 9, Partition: 2}))
	must(t, w.set(slot{"A", 2}, 17))
	must(t, w.file.Close())
	written, err := os.ReadFile(path)
	must(t, err)
	page, err := os.ReadFile(workPage)
	must(t, err)
	want := make([]byte, len(written))
	lines := regexp.MustCompile(`(?m)^    ([0-9a-f]{4})  ([0-9a-f ]+)$`).FindAllSubmatch(page, -1)
	for _, line := range lines {
		at, err := strconv.ParseUint(string(line[1]), 16, 32)
		must(t, err)
		data, err := hex.DecodeString(strings.ReplaceAll(string(line[2]), " ", ""))
		must(t, err)
		copy(want[min(int(at), len(want)):], data)
	}
	if !bytes.Equal(written, want) {
		t.Errorf("%s describes another file than\n%s", workPage, dump(written))
	}
	must(t, os.WriteFile(path, want, 0o600))
	died, err := readWork(path)
	if err != nil || died == nil || died.Incarnation != "i1" || len(died.Frames) != 1 || died.Frames[0] != (control.AtWork{App: "A", Index: 9, Partition: 2, Sequence: 17}) {
		t.Errorf("%+v, %v", died, err)
	}
}

// dump shows bytes as the page does, without lines of zeros.
func dump(data []byte) string {
	var b strings.Builder
	for at := 0; at < len(data); at += 16 {
		if line := data[at : at+16]; !bytes.Equal(line, make([]byte, 16)) {
			fmt.Fprintf(&b, "    %04x  % x\n", at, line)
		}
	}
	return b.String()
}
