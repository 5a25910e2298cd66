package replay

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/test/model"
)

// Random apps on random input give byte-identical output, digests included, however often their
// state is saved and restored into a new app: with any codec, in full or as deltas that are merged.
func TestRestartsDoNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := model.GenApp(t, model.Options{Windows: model.Windows})
		plan, err := siddhiql.Compile(app)
		if err != nil {
			t.Fatalf("%v\n%s", err, app)
		}
		lines := inputLines(model.GenInput(t, plan))
		want := run(t, plan, lines, Options{Digests: true})
		opt := Options{
			Digests:      true,
			RestartEvery: rapid.IntRange(1, 5).Draw(t, "restart every"),
			Incremental:  rapid.Bool().Draw(t, "incremental"),
			Codec: compress.Choice{Codec: rapid.SampledFrom([]compress.Codec{
				compress.Auto, compress.None, compress.LZ4, compress.Snappy, compress.Zstd,
			}).Draw(t, "codec")},
		}
		if got := run(t, plan, lines, opt); got != want {
			t.Fatalf("%s\n%s%+v gives\n%s\nwithout restarts\n%s", app, lines, opt, got, want)
		}
		if got := run(t, plan, lines, Options{Digests: true}); got != want {
			t.Fatalf("%s\n%sthe second run gives\n%s\nthe first\n%s", app, lines, got, want)
		}
	})
}

func run(t *rapid.T, plan *siddhiql.Plan, lines string, opt Options) string {
	var out strings.Builder
	if err := Run([]*siddhiql.Plan{plan}, "input", strings.NewReader(lines), &out, opt); err != nil {
		t.Fatalf("%+v: %v\n%s", opt, err, lines)
	}
	return out.String()
}

func inputLines(steps []model.Step) string {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, s := range steps {
		line := map[string]any{"ts": s.Now}
		if s.Stream != "" {
			var rows, own []any
			for _, e := range s.Events {
				rows, own = append(rows, e.Values), append(own, e.TS)
			}
			line["stream"], line["rows"], line["event_ts"] = s.Stream, rows, own
		}
		if err := enc.Encode(line); err != nil {
			panic(err) // values of the generator are JSON
		}
	}
	return lines.String()
}
