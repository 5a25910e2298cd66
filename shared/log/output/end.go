package output

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// End says how far the results of a partition go.
type End struct {
	// Sequence is the log sequence of the frame with the newest result, in any generation; 0
	// if there is no result.
	Sequence uint64
	// LossNoted says that the newest fence keeps the loss of the log's end, so that no task
	// goes on after it.
	LossNoted bool
}

// FindEnd asks for the end of an output stream.
func FindEnd(ctx context.Context, nc *nats.Conn, app string, p uint32) (End, error) {
	stream := natsconn.OutStream(app, p)
	fence, err := natsconn.LastStored(ctx, nc, stream, natsconn.FenceSubject(app, p))
	if err != nil {
		return End{}, fmt.Errorf("last fence of output stream %s: %w", stream, err)
	}
	last, err := natsconn.LastStored(ctx, nc, stream, natsconn.OutSubjects(app, p))
	if err != nil {
		return End{}, fmt.Errorf("last result of output stream %s: %w", stream, err)
	}
	end := End{}
	if last.Seq > 0 {
		at, err := ReadPlace(last.Header)
		if err != nil {
			return End{}, fmt.Errorf("result %d of output stream %s: %w", last.Seq, stream, err)
		}
		end.Sequence = at.Seq
	}
	if fence.Seq > 0 {
		if err := end.addFence(fence.Data); err != nil {
			return End{}, fmt.Errorf("fence %d of output stream %s: %w", fence.Seq, stream, err)
		}
	}
	return end, nil
}

// addFence adds what a fence knows of results before it, which may have been trimmed.
func (e *End) addFence(data []byte) error {
	var f struct {
		Newest   map[string]string `json:"newest"`
		LostTail json.RawMessage   `json:"lost_tail"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	e.LossNoted = f.LostTail != nil
	for name, text := range f.Newest {
		at, err := result.Parse(text)
		if err != nil {
			return fmt.Errorf("newest result of %s: %w", name, err)
		}
		e.Sequence = max(e.Sequence, at.Seq)
	}
	return nil
}
