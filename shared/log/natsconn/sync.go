package natsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

// Whether an external server syncs before it acknowledges cannot be learnt by an
// ordinary client: neither INFO, nor $JS.API.INFO, nor a stream's settings have
// it, and the time that an append takes proves nothing, since a disk with a
// battery syncs as fast as another one writes. Two places do tell: the JSZ
// request on a connection of the system account, and /jsz on the monitoring port.

// ErrSyncUnknown is returned when no server told how it syncs. It says nothing
// about whether the server does.
var ErrSyncUnknown = errors.New("the NATS server does not tell whether it syncs before it acknowledges")

const (
	jszSubject   = "$SYS.REQ.SERVER.PING.JSZ"
	jszStall     = 300 * time.Millisecond // servers answer one by one; this long after the last, all have
	jszBytesMax  = 1 << 20
	jszFirstWait = 2 * time.Second
)

// ServerSync is how one server syncs JetStream's files.
type ServerSync struct {
	Server   string // its id
	Always   bool   // before every acknowledgement
	Interval time.Duration
}

// SyncOverNATS asks all servers of the cluster. The connection must belong to the
// system account; for any other the result is ErrSyncUnknown.
func SyncOverNATS(ctx context.Context, nc *nats.Conn) ([]ServerSync, error) {
	var answers []ServerSync
	err := gather(ctx, nc, jszSubject, nil, jszFirstWait, jszStall, func(m *nats.Msg) error {
		s, err := parseJSZ(m.Data)
		if s != nil {
			answers = append(answers, *s)
		}
		return err
	})
	if err == nil && len(answers) == 0 {
		err = fmt.Errorf("%w: %s has no answer on this connection; it takes one of the system account", ErrSyncUnknown, jszSubject)
	}
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// SyncOverHTTP asks one server at the URL of its monitoring port, as in
// "http://nats:8222".
func SyncOverHTTP(ctx context.Context, url string) (ServerSync, error) {
	fail := func(err error) (ServerSync, error) {
		return ServerSync{}, fmt.Errorf("ask NATS at %s how it syncs: %w", secret.URL(url), secret.Error(err))
	}
	body, err := monitored(ctx, url, "/jsz", jszBytesMax, ErrSyncUnknown)
	if err != nil {
		return fail(err)
	}
	s, err := parseJSZ(body)
	if err != nil {
		return fail(err)
	}
	if s == nil {
		return fail(fmt.Errorf("%w: JetStream is off there; %w: add `jetstream { store_dir: 'FOLDER', sync_interval: always }` to the configuration file of the server, and restart it", ErrSyncUnknown, ErrNoJetStream))
	}
	return *s, nil
}

// parseJSZ reads the answer of one server, bare or in the envelope that answers
// over NATS have. It returns nil for a server without JetStream.
func parseJSZ(data []byte) (*ServerSync, error) {
	type jsz struct {
		ID       string `json:"server_id"`
		Disabled bool   `json:"disabled"`
		Config   struct {
			StoreDir     string        `json:"store_dir"`
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
		} `json:"config"`
	}
	var answer struct {
		jsz
		Data  *jsz            `json:"data"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("%w: answer: %w", ErrSyncUnknown, err)
	}
	if len(answer.Error) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrSyncUnknown, answer.Error)
	}
	js := answer.jsz
	if answer.Data != nil {
		js = *answer.Data
	}
	if js.Disabled {
		return nil, nil
	}
	if js.Config.StoreDir == "" && js.Config.SyncInterval == 0 {
		return nil, fmt.Errorf("%w: its answer has no JetStream settings", ErrSyncUnknown)
	}
	return &ServerSync{Server: js.ID, Always: js.Config.SyncAlways, Interval: js.Config.SyncInterval}, nil
}

// CheckSync returns an error if any of the servers syncs later than d demands.
func CheckSync(d Durability, servers []ServerSync) error {
	for _, s := range servers {
		switch {
		case s.Always || d == Fast:
		case d == Durable:
			return fmt.Errorf("NATS server %s syncs every %s, and durability %s needs every message: add `sync_interval: always` to the jetstream block of its configuration file and restart it (a server without one: write `jetstream { store_dir: 'FOLDER', sync_interval: always }` into a file, and start it with `-c FILE` in place of `-js`), or set wal.durability to fast", s.Server, s.Interval, d)
		case s.Interval > syncIntervalBalanced:
			return fmt.Errorf("NATS server %s syncs every %s, and durability %s needs %s: add `sync_interval: %[4]q` to the jetstream block of its configuration file (the one of nats-server -c) and restart it, or set wal.durability to fast", s.Server, s.Interval, d, syncIntervalBalanced)
		}
	}
	return nil
}
