package natsconn

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	messageTimeout = 5 * time.Second
	codeNoMessage  = 10037
)

// Message is a message of a JetStream stream. Seq 0 stands for none.
type Message struct {
	Seq     uint64
	Time    time.Time // when it was stored
	Subject string
	Header  nats.Header
	Data    []byte
}

// MessageAt returns the message of a stream at a sequence. Like LastMessage it asks the
// stream's leader. The client library's own calls ask any replica if the stream allows
// direct gets, and a replica may lack the end of the stream.
func MessageAt(ctx context.Context, nc *nats.Conn, stream string, seq uint64) (Message, error) {
	return getMessage(ctx, nc, stream, map[string]any{"seq": seq})
}

// LastMessage returns the last message on a subject, which may have wildcards. It asks the
// stream's leader.
func LastMessage(ctx context.Context, nc *nats.Conn, stream, subject string) (Message, error) {
	return getMessage(ctx, nc, stream, map[string]any{"last_by_subj": subject})
}

func getMessage(ctx context.Context, nc *nats.Conn, stream string, which map[string]any) (Message, error) {
	request, err := json.Marshal(which)
	if err != nil {
		return Message{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	answer, err := nc.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+stream, request)
	if err != nil {
		return Message{}, err
	}
	var found struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &found); err != nil {
		return Message{}, fmt.Errorf("answer of the server to STREAM.MSG.GET.%s: %w", stream, err)
	}
	if e := found.Error; e != nil {
		if e.ErrorCode == codeNoMessage {
			return Message{}, nil
		}
		return Message{}, e
	}
	m := Message{Seq: found.Message.Seq, Time: found.Message.Time, Subject: found.Message.Subject, Data: found.Message.Data}
	if len(found.Message.Header) > 0 {
		m.Header, err = nats.DecodeHeadersMsg(found.Message.Header)
	}
	return m, err
}
