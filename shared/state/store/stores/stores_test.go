package stores

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Where none could be opened there is none: not one that looks as if, and is closed.
func TestWhatIsNotOpenedIsNil(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, url := range []string{"file:" + blocked, "redis://127.0.0.1:1/0?timeout=50ms", "s3://", "gs://", "azblob://", "ftp://x"} {
		if s, err := Open(ctx, url, slog.New(slog.DiscardHandler)); s != nil || err == nil {
			t.Errorf("%s: %v, %v", url, s, err)
		}
	}
}
