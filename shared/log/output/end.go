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
	fence, err := natsconn.LastMessage(ctx, nc, stream, natsconn.FenceSubject(app, p))
	if err != nil {
		return End{}, fmt.Errorf("last fence of output stream %s: %w", stream, err)
	}
	at, err := LastResult(ctx, nc, app, p)
	if err != nil {
		return End{}, err
	}
	end := End{Sequence: at.Seq}
	if fence.Seq > 0 {
		if err := end.addFence(fence.Data); err != nil {
			return End{}, fmt.Errorf("fence %d of output stream %s: %w", fence.Seq, stream, err)
		}
	}
	return end, nil
}

// fencesMax is how many fences in a row LastResult looks through.
const fencesMax = 1000

// LastResult returns the place of the newest result of a partition, on whichever subject; zero
// for none. It goes back from the end of the output stream, where only results and fences are,
// to a result or to a fence whose record reaches that far.
func LastResult(ctx context.Context, nc *nats.Conn, app string, p uint32) (result.Position, error) {
	stream, fences := natsconn.OutStream(app, p), natsconn.FenceSubject(app, p)
	m, err := natsconn.LastMessage(ctx, nc, stream, ">")
	for range fencesMax {
		if err != nil {
			return result.Position{}, fmt.Errorf("end of output stream %s: %w", stream, err)
		}
		foreign := m.Seq > 0 && Foreign(m.Subject, m.Header)
		if m.Seq == 0 || m.Subject != fences && !foreign {
			break
		}
		if !foreign {
			f, err := ParseFence(m.Data)
			if err != nil {
				return result.Position{}, fmt.Errorf("fence %d of output stream %s: %w", m.Seq, stream, err)
			}
			if r, ok, err := f.Record(); err == nil && ok && r.Through+1 >= m.Seq {
				return r.Last, nil
			}
		}
		if m.Seq == 1 {
			return result.Position{}, nil
		}
		if m, err = natsconn.MessageAt(ctx, nc, stream, m.Seq-1); err != nil {
			return result.Position{}, fmt.Errorf("end of output stream %s: %w", stream, err)
		}
	}
	if m.Seq == 0 || m.Subject == fences || Foreign(m.Subject, m.Header) { // messages are missing there
		if m, err = natsconn.LastMessage(ctx, nc, stream, natsconn.OutSubjects(app, p)); err != nil {
			return result.Position{}, fmt.Errorf("last result of output stream %s: %w", stream, err)
		}
	}
	if m.Seq == 0 {
		return result.Position{}, nil
	}
	at, err := ReadPlace(m.Header)
	if err != nil {
		return result.Position{}, fmt.Errorf("result %d of output stream %s: %w", m.Seq, stream, err)
	}
	return at, nil
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
