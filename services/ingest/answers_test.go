package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A publisher with many messages in flight gets an answer to each of them, whatever their
// size: ingest refuses messages if it has no room, and drops none.
func TestEveryRequestIsAnswered(t *testing.T) {
	const inFlight = 4000 // the default of PublishAsync
	cases := []struct{ messages, bytes int }{{10_000, 100}, {10_000, 4_400}, {10_000, 17_000}, {6_000, 64 << 10}}
	if testing.Short() {
		cases = []struct{ messages, bytes int }{{inFlight + 500, 100}, {inFlight + 500, 17_000}}
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d messages of %d bytes", c.messages, c.bytes), func(t *testing.T) {
			r := start(t, nil, flightsApp)
			js, err := jetstream.New(connect(t, r.srv), jetstream.WithPublishAsyncMaxPending(inFlight), jetstream.WithPublishAsyncTimeout(5*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			defer js.CleanupPublisher()
			payload := fmt.Appendf(nil, `{"origin":"%s","delay":1}`, strings.Repeat("x", c.bytes-len(`{"origin":"","delay":1}`)))
			var futures []jetstream.PubAckFuture
			for len(futures) < c.messages {
				f, err := js.PublishAsync("events.Flights", payload)
				if errors.Is(err, jetstream.ErrTooManyStalledMsgs) {
					continue // no place in flight became free for a while
				}
				if err != nil {
					t.Fatal(err)
				}
				futures = append(futures, f)
			}
			accepted, refused, silent := 0, 0, 0
			for _, f := range futures {
				select {
				case <-f.Ok():
					accepted++
				case err := <-f.Err():
					var api *jetstream.APIError
					switch {
					case errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, nats.ErrDisconnected):
						silent++
					case !errors.As(err, &api) || errCode(api.ErrorCode) != overloaded:
						t.Fatal(err)
					default:
						refused++
					}
				}
			}
			r.end()
			info := r.svc.Info()
			t.Logf("%d accepted, %d refused, %d without an answer; %d dropped", accepted, refused, silent, info.Dropped)
			if silent > 0 || info.Dropped > 0 || info.Accepted != uint64(accepted) {
				t.Errorf("%d of %d requests have no answer, %d were dropped, the log took %d of %d", silent, c.messages, info.Dropped, info.Accepted, accepted)
			}
		})
	}
}
