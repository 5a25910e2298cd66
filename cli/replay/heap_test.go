package replay

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// A file of a few kilobytes may hold frames of a hundred thousand rows each, which a window keeps.
// Its replay must fail near the limit.
func TestSmallExportsDoNotTakeAllMemory(t *testing.T) {
	const text = `@app:name('Bomb') define stream S (a long, b long, c long, d long); from S#window.length(1000000000) select a insert into O;`
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	const frames, rows = 65, 100_000 // the deploy frame and 64 of events
	var file bytes.Buffer
	w, err := export.NewWriter(&file, &export.Info{App: plan.Name, Plan: plan.Digest, Settings: engine.Settings{DedupWindow: 1000}, Version: "1.0.0", Logs: []export.Log{{From: 1, To: frames}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(export.KindApp, "", []byte(text)); err != nil {
		t.Fatal(err)
	}
	schema := plan.Streams[0].Schema
	batch := event.NewBatch(schema)
	for range rows {
		batch.TS = append(batch.TS, 1000)
		for i := range batch.Cols {
			batch.Cols[i].Ints = append(batch.Cols[i].Ints, 7)
		}
	}
	var enc frame.Encoder
	before := uint32(0)
	for seq := uint64(1); seq <= frames; seq++ {
		f := &frame.Frame{
			Header: frame.Header{App: plan.Name, Writer: 1, Number: max(seq-1, 1), Prev: before, Kind: frame.Events, Stamp: 1000},
			Blocks: []frame.Block{{Batch: batch}}, Runs: []frame.Run{{Rows: rows}},
		}
		if seq == 1 {
			f = &frame.Frame{Header: frame.Header{App: plan.Name, Writer: 2, Number: 1, Kind: frame.Deploy}, Deploy: frame.Version{
				Number: 1, Level: engine.Level, Build: "1.0.0", Settings: engine.Settings{DedupWindow: 1000}.JSON(), Text: text,
			}}
		}
		data, err := enc.Append(nil, f, compress.Zstd)
		if err != nil {
			t.Fatal(err)
		}
		if seq > 1 {
			before = f.CRC
		}
		if err := w.Add(export.KindFrame, fmt.Sprintf("0/%d", seq), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bomb.efx")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	limit := newHeapLimit(0).used() + 64<<20
	out := &counter{}
	err = RunExport(t.Context(), path, out, Options{MemoryMax: limit})
	if err == nil || !strings.Contains(err.Error(), "--memory-max") {
		t.Fatalf("a file of %d bytes was replayed (%v), %d bytes of rows", file.Len(), err, out.bytes)
	}
	t.Logf("a file of %d bytes", file.Len())
	if all := frames * rows; out.rows >= all {
		t.Errorf("the limit came after all %d rows", all)
	}
}

// counter counts what is written.
type counter struct{ bytes, rows int }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	c.rows += bytes.Count(p, []byte("\n"))
	return len(p), nil
}
