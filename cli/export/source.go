package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Source is a checkpoint of a deployed app with the log after it, as the services show them.
type Source struct {
	App      control.App
	Plan     recovery.Plan
	Manifest *checkpoint.Manifest // nil: there is no checkpoint, and the log is whole
	// Versions are those that partitions have at the checkpoint, with their texts.
	Versions []control.Version

	nc      *nats.Conn
	history *control.History // nil: it was not asked for yet
}

// Open finds a checkpoint of an app: the one of an epoch, or the newest usable one for epoch 0.
func Open(ctx context.Context, nc *nats.Conn, app string, epoch state.Epoch) (*Source, error) {
	s := &Source{nc: nc}
	ask := &control.Client{Conn: nc}
	var err error
	if s.App, err = ask.App(ctx, control.AppRequest{App: app}); err != nil {
		return nil, err
	}
	planner := &control.Client{Conn: nc, Service: recovery.ServiceName, Attempt: time.Minute}
	request := recovery.PlanRequest{App: app, Target: recovery.Target{To: epoch}, Verify: recovery.VerifyNone, Look: true}
	if err := planner.Do(ctx, recovery.VerbPlan, request, &s.Plan); err != nil {
		return nil, err
	}
	if s.Plan.Refused != "" {
		return nil, fmt.Errorf("%s; next: %s", s.Plan.Refused, s.Plan.Next)
	}
	if s.Plan.Checkpoint > 0 {
		m, err := ask.Checkpoint(ctx, control.CheckpointRequest{App: app, Epoch: s.Plan.Checkpoint})
		if err != nil {
			return nil, err
		}
		s.Manifest = &m
	}
	s.Versions, err = s.versions(ctx, ask)
	return s, err
}

// versions returns the versions of the app that partitions have where the log starts. Later
// ones are in the log.
func (s *Source) versions(ctx context.Context, ask *control.Client) ([]control.Version, error) {
	numbers := []uint32{1}
	if s.Manifest != nil {
		numbers = nil
		for p := range s.Manifest.Partitions {
			number, _ := s.Manifest.VersionOf(uint32(p))
			numbers = append(numbers, number)
		}
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
	}
	if s.App.Version <= 1 {
		return []control.Version{{Number: 1, Plan: s.App.Plan, Text: s.App.Text, Settings: s.Plan.Settings}}, nil
	}
	var all []control.Version
	for _, number := range numbers {
		v, err := ask.Version(ctx, control.VersionRequest{App: s.App.Name, Number: number})
		if err != nil {
			return nil, err
		}
		if v.Text == "" {
			return nil, fmt.Errorf("checkpoint %d needs the text of version %d of app %s, which is not kept any more; use a newer checkpoint", s.Plan.Checkpoint, number, s.App.Name)
		}
		all = append(all, v)
	}
	return all, nil
}

// Log opens the log of a partition after the checkpoint.
func (s *Source) Log(ctx context.Context, p uint32) (*wal.Reader, error) {
	js, err := jetstream.New(s.nc)
	if err != nil {
		return nil, err
	}
	cfg := wal.ReaderConfig{JS: js, Stream: natsconn.WALStream(s.App.Name, p), From: 1}
	if s.Manifest == nil {
		return wal.OpenReader(ctx, cfg)
	}
	stream, err := js.Stream(ctx, cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", cfg.Stream, err)
	}
	return lineage.OpenBehind(ctx, cfg, stream.CachedInfo().Created, &s.Manifest.Partitions[p])
}

// first returns the first sequence that changes of the app in a log read to build state; 0 if none
// reads what is before the log.
func (s *Source) first(ctx context.Context, p uint32, l export.Log) (uint64, error) {
	if s.App.Version <= 1 || l.To < l.From {
		return 0, nil
	}
	if s.history == nil {
		h, err := (&control.Client{Conn: s.nc}).History(ctx, control.AppRequest{App: s.App.Name})
		if err != nil {
			return 0, err
		}
		s.history = &h
	}
	number := uint32(1)
	if s.Manifest != nil {
		number, _ = s.Manifest.VersionOf(p)
	}
	first := uint64(0)
	for _, v := range s.history.Versions {
		reads, err := engine.BackfillOf(v.Change)
		if err != nil {
			return 0, fmt.Errorf("version %d of app %s: %w", v.Number, s.App.Name, err)
		}
		if v.Number > number && int(p) < len(reads) && reads[p] < l.From && (first == 0 || reads[p] < first) {
			first = reads[p]
		}
	}
	return first, nil
}

// logFrom opens the log of a partition at a sequence.
func (s *Source) logFrom(ctx context.Context, p uint32, seq uint64) (*wal.Reader, error) {
	js, err := jetstream.New(s.nc)
	if err != nil {
		return nil, err
	}
	return wal.OpenReader(ctx, wal.ReaderConfig{JS: js, Stream: natsconn.WALStream(s.App.Name, p), From: seq})
}

// remote is a read-only view of the store through the recovery service.
type remote struct {
	store.Store
	nc *nats.Conn
}

// Get implements store.Store.
func (r remote) Get(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	for {
		piece, total, err := r.piece(ctx, name, int64(len(data)))
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
		if int64(len(data)) >= total {
			return data, nil
		}
		if len(piece) == 0 {
			return nil, fmt.Errorf("read %s: it ends at %d of %d bytes", name, len(data), total)
		}
	}
}

func (r remote) piece(ctx context.Context, name string, offset int64) ([]byte, int64, error) {
	request, err := json.Marshal(recovery.ObjectRequest{Name: name, Offset: offset})
	if err != nil {
		return nil, 0, err
	}
	msg, err := r.nc.RequestWithContext(ctx, natsconn.ServiceSubject(recovery.ServiceName, recovery.VerbObject), request)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	if text := msg.Header.Get("Nats-Service-Error"); text != "" {
		return nil, 0, errors.New(text)
	}
	total, err := strconv.ParseInt(msg.Header.Get(recovery.HeaderBytes), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: the answer has no size: %w", name, err)
	}
	return msg.Data, total, nil
}
