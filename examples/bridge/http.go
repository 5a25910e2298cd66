package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	retryWait = 100 * time.Millisecond // before a request is sent again
	retryMax  = 5 * time.Second
)

// toHTTP posts each result, in order, and acknowledges it once the server has answered 2xx. The
// durable consumer keeps the position. A crash before the acknowledgement sends the request again,
// with the same key.
func (b *bridge) toHTTP(ctx context.Context, url string) error {
	h := fnv.New64a()
	_, _ = io.WriteString(h, b.subject+" "+url) // never fails
	consumer, err := b.js.CreateOrUpdateConsumer(ctx, b.stream, jetstream.ConsumerConfig{
		Durable: fmt.Sprintf("bridge-%x", h.Sum64()), FilterSubject: b.subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: b.ackWait,
		MaxAckPending: 1, // keeps the order
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", b.stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return fmt.Errorf("read %s: %w", b.stream, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", b.stream, err)
		}
		for wait := retryWait; ; wait = min(2*wait, retryMax) {
			if err = b.post(ctx, url, m); err == nil {
				break
			}
			log.Printf("result %s: %v; sending it again", place(m.Headers()), err)
			if err := m.InProgress(); err != nil {
				return err
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := m.DoubleAck(ctx); err != nil {
			return fmt.Errorf("acknowledge result %s: %w", place(m.Headers()), err)
		}
	}
}

var client = &http.Client{Timeout: 20 * time.Second} // less than ackWait

func (b *bridge) post(ctx context.Context, url string, m jetstream.Msg) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.Data()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if format := m.Headers().Get("Content-Type"); format != "" { // protobuf or Avro
		request.Header.Set("Content-Type", format)
	}
	request.Header.Set("Idempotency-Key", b.stream+":"+place(m.Headers()))
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the server answers %s", answer.Status)
	}
	return nil
}
