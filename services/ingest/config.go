package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/state/compress"
)

const (
	eventBytesDefault = 1 << 20
	memoryDefault     = 64 << 20
	stopDefault       = 10 * time.Second
	firstLoadDefault  = time.Minute
)

// Config is the configuration of an ingest.
type Config struct {
	// Conn receives the events and answers their publishers.
	Conn *nats.Conn
	// LogConn goes to the logs and dead letters; nil means Conn. A separate connection is
	// much faster under load: on a shared one, the answer to a frame has to wait for all
	// events that the server sent earlier.
	LogConn *nats.Conn
	// Gate is the natsconn.ConnectConfig.BeforeRead of Conn. Without one (nil), the client
	// library drops messages that arrive faster than ingest looks at them.
	Gate *Gate
	// Changed is called when Service.Apps has changed; it may be nil. It must be quick.
	Changed func()
	// EventBytesMax is the limit of a message's payload (ingest.event_bytes_max);
	// zero means 1 MiB.
	EventBytesMax int
	// MemoryMax bounds the rows that wait until they are durable, as bytes in memory, for
	// all logs together (ingest.memory_max); zero means 64 MiB. Unhandled messages may use
	// as much again, and results of other apps 8 MiB for each partition that is read.
	MemoryMax int64
	// LagMax bounds how long a task may need for the accepted events that it has not applied
	// (ingest.lag_max). Beyond it, ingest refuses events for the log, and results of other
	// apps wait. Zero means no bound.
	LagMax time.Duration
	// Room returns why the logs have no room on the disk, or nil if they have. While they have
	// none, ingest refuses events. A nil Room means that it is not known.
	Room func() error
	// Scrub returns what a scrub found in the files of the streams; nil without a scrub. Info
	// reports it.
	Scrub func() *control.Scrub
	// Codec of the frames; zero means the default of shared/log/wal.
	Codec compress.Codec
	// Durability describes what the server does. It is reported, not enforced.
	Durability natsconn.Durability
	// Version of the program, as in semantic versioning.
	Version string
	// StopTimeout is how long a stop waits for accepted events to become durable; zero means
	// 10 s.
	StopTimeout time.Duration
	// FirstLoadMax is how long the events of an app wait until the tables that KV buckets fill
	// were loaded for the first time; zero means a minute.
	FirstLoadMax time.Duration
	// Witness keeps the last acknowledged frame of each log; nil keeps none.
	Witness *witness.Folder
	// Log may be nil, which means slog.Default.
	Log *slog.Logger
	// Now returns the time in ms since the Unix epoch; nil means the machine's clock.
	Now func() int64
}

// withDefaults returns cfg with defaults for its zero values, or all errors in it.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.LogConn == nil {
		cfg.LogConn = cfg.Conn
	}
	if cfg.Gate == nil {
		cfg.Gate = &Gate{}
	}
	if cfg.EventBytesMax == 0 {
		cfg.EventBytesMax = eventBytesDefault
	}
	if cfg.MemoryMax == 0 {
		cfg.MemoryMax = memoryDefault
	}
	if cfg.Room == nil {
		cfg.Room = func() error { return nil }
	}
	if cfg.Scrub == nil {
		cfg.Scrub = func() *control.Scrub { return nil }
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = stopDefault
	}
	if cfg.FirstLoadMax == 0 {
		cfg.FirstLoadMax = firstLoadDefault
	}
	if cfg.Durability == 0 {
		cfg.Durability = natsconn.Durable
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = func() int64 { return time.Now().UnixMilli() }
	}
	return cfg, cfg.check()
}

func (cfg *Config) check() error {
	var problems []error
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("ingest: "+format, args...))
	}
	if cfg.Conn == nil {
		wrong("no connection to NATS")
	}
	if cfg.EventBytesMax < 0 {
		wrong("ingest.event_bytes_max is %d bytes, want more than 0", cfg.EventBytesMax)
	}
	if cfg.MemoryMax < 0 {
		wrong("ingest.memory_max is %d bytes, want more than 0", cfg.MemoryMax)
	}
	if cfg.LagMax < 0 {
		wrong("ingest.lag_max is %s, want 0 or more", cfg.LagMax)
	}
	if cfg.StopTimeout < 0 {
		wrong("stop timeout is %s, want more than 0", cfg.StopTimeout)
	}
	if cfg.FirstLoadMax < 0 {
		wrong("the limit of the first load is %s, want more than 0", cfg.FirstLoadMax)
	}
	if !cfg.Durability.Valid() {
		wrong("unknown %s", cfg.Durability)
	}
	return errors.Join(problems...)
}

// inboxOf returns the prefix of the subjects where the service gets its answers.
func inboxOf(conn *nats.Conn) string { return conn.Opts.InboxPrefix }

// checkPlan returns why an app cannot be served, or nil.
func checkPlan(p *siddhiql.Plan, inbox string) error {
	if err := subject.CheckName(p.Name); err != nil {
		return err
	}
	if p.Partitions < 1 {
		return fmt.Errorf("%d partitions, want 1 or more", p.Partitions)
	}
	for _, s := range p.Streams {
		if !isInput(s) {
			continue
		}
		if err := subject.CheckName(s.Name); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if s.Origin != nil {
			if p.Partitions > 1 && s.ShardKey == nil {
				return fmt.Errorf("stream %s has no key, and the app has %d partitions", s.Name, p.Partitions)
			}
			continue
		}
		if err := subject.CheckSource(s.Subject, p.Name, inbox); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
		if p.Partitions > 1 && s.ShardKey == nil {
			return fmt.Errorf("stream %s has no key, and the app has %d partitions", s.Name, p.Partitions)
		}
	}
	return nil
}

// isInput reports whether events can be published to the stream.
func isInput(s *siddhiql.Stream) bool { return s.Input() }
