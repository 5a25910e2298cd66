package output

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
)

// compactedKey starts an entry of an output stream's metadata, with the name of a result stream
// after it. The value is Before of its Compaction, and then Starts, separated by blanks.
const compactedKey = "ef.compacted."

// Compaction says which results of a result stream may have been removed on purpose, between
// others (@sink(max.msgs.per.subject='…')). It is written before they are removed.
type Compaction struct {
	Before uint64 // sequences from here on have all results
	// Starts has, in their order, the first results of generations, which may be removed, too. Each
	// voids the results of earlier generations from its position on.
	Starts []result.Position
}

// Compactions returns what the metadata of an output stream says, by result stream. Entries that
// cannot be read count for nothing: then removed results seem to be lost, which is safe.
func Compactions(cfg jetstream.StreamConfig) map[string]Compaction {
	all := map[string]Compaction{}
	for key, text := range cfg.Metadata {
		if name, ok := strings.CutPrefix(key, compactedKey); ok {
			if c, err := parseCompaction(text); err == nil {
				all[name] = c
			}
		}
	}
	return all
}

func parseCompaction(text string) (c Compaction, err error) {
	before, starts, _ := strings.Cut(text, " ")
	if c.Before, err = strconv.ParseUint(before, 10, 64); err != nil {
		return Compaction{}, err
	}
	for _, start := range strings.Fields(starts) {
		at, err := result.Parse(start)
		if err != nil {
			return Compaction{}, err
		}
		c.Starts = append(c.Starts, at)
	}
	return c, nil
}

func (c Compaction) text() string {
	text := strconv.FormatUint(c.Before, 10)
	for _, at := range c.Starts {
		text += " " + at.String()
	}
	return text
}

// ReadCompactions is Compactions of an output stream as it is now.
func ReadCompactions(ctx context.Context, js jetstream.JetStream, stream string) (map[string]Compaction, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("metadata of output stream %s: %w", stream, err)
	}
	return Compactions(s.CachedInfo().Config), nil
}

// WriteCompactions changes the metadata of an output stream. On return it is durable. Somebody
// who changes other settings of the stream at the same time could undo it, or the other way round.
func WriteCompactions(ctx context.Context, js jetstream.JetStream, stream string, change map[string]Compaction) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("metadata of output stream %s: %w", stream, err)
	}
	cfg := s.CachedInfo().Config
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	for name, c := range change {
		cfg.Metadata[compactedKey+name] = c.text()
	}
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("metadata of output stream %s: %w", stream, err)
	}
	return nil
}
