package processor

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// stored is a message of a JetStream stream; seq 0 stands for none.
type stored struct {
	seq     uint64
	subject string
	header  nats.Header
	data    []byte
}

// lastSequence returns the sequence of a stream's last message, purged or not.
func lastSequence(ctx context.Context, nc *nats.Conn, stream string) (uint64, error) {
	var info struct {
		Error *jetstream.APIError   `json:"error"`
		State jetstream.StreamState `json:"state"`
	}
	if err := ask(ctx, nc, "STREAM.INFO."+stream, nil, &info); err != nil {
		return 0, err
	}
	if info.Error != nil {
		return 0, info.Error
	}
	return info.State.LastSeq, nil
}

// lastMessage returns the last message on subject, which may have wildcards.
func lastMessage(ctx context.Context, nc *nats.Conn, stream, subject string) (stored, error) {
	return getMessage(ctx, nc, stream, map[string]any{"last_by_subj": subject})
}

// getMessage reads one message. It asks the stream's leader: a direct get may be
// answered by a replica that does not have the end of the stream yet.
func getMessage(ctx context.Context, nc *nats.Conn, stream string, which map[string]any) (stored, error) {
	const codeNoMessage = 10037
	var found struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := ask(ctx, nc, "STREAM.MSG.GET."+stream, which, &found); err != nil {
		return stored{}, err
	}
	if e := found.Error; e != nil {
		if e.ErrorCode == codeNoMessage {
			return stored{}, nil
		}
		return stored{}, e
	}
	m := stored{seq: found.Message.Seq, subject: found.Message.Subject, data: found.Message.Data}
	if len(found.Message.Header) == 0 {
		return m, nil
	}
	var err error
	m.header, err = nats.DecodeHeadersMsg(found.Message.Header)
	return m, err
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
