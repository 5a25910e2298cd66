package natsconn

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestPassing(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&jetstream.APIError{Code: 503, ErrorCode: 10008}, true},
		// Two of three servers are there, and a stream is to have three copies.
		{fmt.Errorf("create: %w", &jetstream.APIError{Code: 400, ErrorCode: 10005}), true},
		{&jetstream.APIError{Code: 400, ErrorCode: 10074}, false},
		{jetstream.ErrStreamNotFound, false},
		{context.DeadlineExceeded, false},
		{errors.New("no suitable peers"), false},
		{nil, false},
	} {
		if got := Unavailable(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}
