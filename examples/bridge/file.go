package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nats-io/nats.go/jetstream"
)

// line is a line of the file.
type line struct {
	Sequence uint64          `json:"sequence"` // of the message in the output stream
	Place    string          `json:"place"`    // generation:position
	Kind     string          `json:"kind"`     // current or expired
	Row      json.RawMessage `json:"row"`
}

// toFile appends each result to a file. The last complete line says which result comes next.
func (b *bridge) toFile(ctx context.Context, name string) error {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	last, err := cutTail(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := b.check(ctx, last); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	consumer, err := b.js.OrderedConsumer(ctx, b.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{b.subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last.Sequence + 1,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", b.stream, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read %s: %w", b.stream, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", b.stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		out, err := json.Marshal(line{meta.Sequence.Stream, place(m.Headers()), m.Headers().Get("Ef-Kind"), m.Data()})
		if err != nil {
			return fmt.Errorf("result %s is not JSON, but %s: %w", place(m.Headers()), m.Headers().Get("Content-Type"), err)
		}
		if _, err := file.Write(append(out, '\n')); err != nil {
			return err
		}
		if meta.NumPending == 0 { // a crash before loses no result: the next start writes it again
			if err := file.Sync(); err != nil {
				return err
			}
		}
	}
}

// cutTail removes a line that is not complete, and returns the last one that is.
func cutTail(file *os.File) (last line, err error) {
	data, err := io.ReadAll(file)
	if err != nil {
		return last, err
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	if err := file.Truncate(int64(end)); err != nil {
		return last, err
	}
	if _, err := file.Seek(int64(end), io.SeekStart); err != nil || end == 0 {
		return last, err
	}
	complete := data[:end-1]
	err = json.Unmarshal(complete[bytes.LastIndexByte(complete, '\n')+1:], &last)
	return last, err
}

// check compares the last line with the output stream, which may be another one of the same name.
func (b *bridge) check(ctx context.Context, last line) error {
	if last.Sequence == 0 {
		return nil
	}
	stream, err := b.js.Stream(ctx, b.stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", b.stream, err)
	}
	m, err := stream.GetMsg(ctx, last.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) && stream.CachedInfo().State.FirstSeq > last.Sequence {
		return nil // trimmed since
	}
	if err != nil {
		return fmt.Errorf("message %d of %s: %w", last.Sequence, b.stream, err)
	}
	if place(m.Header) != last.Place {
		return fmt.Errorf("message %d of %s is result %s, and the file has %s there: the stream is another one; write to another file", last.Sequence, b.stream, place(m.Header), last.Place)
	}
	return nil
}
