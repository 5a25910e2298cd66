package replay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/shadow"
)

// Comparison is what the next version of an app would have made of an export.
type Comparison struct {
	Checkpoint uint64            `json:"checkpoint"` // where the change is made; 0: at the start of the log
	Changes    *engine.Migration `json:"changes"`
	shadow.Report
}

// CompareExport replays an export twice: as it is, and with the app changed to another text
// right after the checkpoint. It compares the results. It uses only the options Until and
// MemoryMax. If the change is refused, it returns the plan of the change with the error.
func CompareExport(ctx context.Context, file, text string, change engine.MigrateOptions, opt Options) (*Comparison, error) {
	x, err := openExport(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	r := &comparing{x: x, comparer: shadow.NewComparer(x.info.App), limit: newHeapLimit(opt.MemoryMax)}
	r.done.Checkpoint = x.info.Checkpoint
	stream, stop := x.frames(ctx)
	defer stop()
	for p := range x.info.Logs {
		if err := r.partition(ctx, p, stream, text, change, opt); err != nil {
			return &r.done, fmt.Errorf("%s: partition %d: %w", file, p, err)
		}
	}
	r.done.Report = r.comparer.Report()
	return &r.done, nil
}

type comparing struct {
	x        *exported
	comparer *shadow.Comparer
	limit    *heapLimit
	done     Comparison
}

// partition compares the results of one partition.
func (r *comparing) partition(ctx context.Context, p int, stream *frameStream, text string, change engine.MigrateOptions, opt Options) error {
	objects := bounded{r.x.store, r.limit}
	old, skip, err := r.x.task(ctx, p, objects)
	if err != nil {
		return err
	}
	copied, _, err := r.x.task(ctx, p, objects)
	if err != nil {
		return err
	}
	pair, m, err := shadow.NewPair(r.comparer, p, old, copied, text, change)
	if r.done.Changes == nil {
		r.done.Changes = m
	}
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, pair.Old.Core.Interrupt)()
	defer context.AfterFunc(ctx, pair.New.Core.Interrupt)()
	log := &partitionLog{stream, p, r.x.info.Logs[p].From, r.limit, skip}
	for {
		record, err := log.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = pair.Step(record)
		}
		if errors.Is(err, engine.ErrInterrupted) {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	if opt.Until != nil {
		if err := pair.Advance(*opt.Until); err != nil {
			return err
		}
	}
	pair.Close()
	return nil
}
