package processor

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lastSequence returns the sequence of a stream's last message, purged or not.
func lastSequence(ctx context.Context, nc *nats.Conn, stream string) (uint64, error) {
	state, err := streamState(ctx, nc, stream)
	return state.LastSeq, err
}

// firstSequence returns the sequence of a stream's first message that is left.
func firstSequence(ctx context.Context, nc *nats.Conn, stream string) (uint64, error) {
	state, err := streamState(ctx, nc, stream)
	return state.FirstSeq, err
}

func streamState(ctx context.Context, nc *nats.Conn, stream string) (jetstream.StreamState, error) {
	var info struct {
		Error *jetstream.APIError   `json:"error"`
		State jetstream.StreamState `json:"state"`
	}
	if err := ask(ctx, nc, "STREAM.INFO."+stream, nil, &info); err != nil {
		return jetstream.StreamState{}, err
	}
	if info.Error != nil {
		return jetstream.StreamState{}, info.Error
	}
	return info.State, nil
}

// ask sends a request of JetStream's API and decodes the answer.
func ask(ctx context.Context, nc *nats.Conn, what string, request, answer any) error {
	var data []byte
	if request != nil {
		var err error
		if data, err = json.Marshal(request); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+what, data)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("answer of the server to %s: %w", what, err)
	}
	return nil
}
