package cli

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/state/store/stores"
)

// A merge names what is missing or wrong in its arguments.
func TestMergeArguments(t *testing.T) {
	unsetSettings(t)
	dir := t.TempDir()
	at := "file:" + filepath.Join(dir, "checkpoints")
	s, err := stores.Open(context.Background(), at, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	makeCheckpoint(t, s, "A", 1)
	text := filepath.Join(dir, "a.siddhi")
	if err := os.WriteFile(text, []byte("@app:name('A') define stream S (v long); from S select v insert into Out;"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []string{"--base", "1", "--text", text, "--strategy", "last-write-wins", "--store", at}
	for _, test := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "--base is missing", []string{"1", "1"}},
		{exitUsage, `strategy "newest" is none of last-write-wins`, []string{"1", "1", "--base", "1", "--text", text, "--strategy", "newest"}},
		{exitUsage, "--to URL for the result, or --dry-run", append([]string{"1", "1"}, all...)},
		{exitUsage, "--store is missing", []string{"1", at + "#1", "--base", at, "--text", text, "--strategy", "last-write-wins", "--dry-run"}},
		{exitUsage, `"x" is no epoch`, append([]string{"1", at + "#x", "--dry-run"}, all...)},
		{exitUsage, "is none of file:DIR", append([]string{"1", "ftp://x#1", "--dry-run"}, all...)},
		{exitFailed, "has no checkpoint 2 of app A; its newest is 1", append([]string{"1", "2", "--dry-run"}, all...)},
		{exitFailed, "holds no checkpoints", append([]string{"1", at + "typo#1", "--dry-run"}, all...)},
		{exitUsage, "the store has checkpoint 1 of app A", append([]string{"1", "1", "--to", at}, all...)},
		{exitFailed, "give the text of that version", append([]string{at, "1", "--dry-run"}, all...)},
	} {
		var out bytes.Buffer
		if got := execute(append([]string{"checkpoint", "merge"}, test.args...), nil, &out, &out); got != test.code || !strings.Contains(out.String(), test.want) {
			t.Errorf("%v: exit code %d, want %d, with %q: %s", test.args, got, test.code, test.want, out.String())
		}
	}
}
