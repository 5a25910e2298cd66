package ingest

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// Info is the answer to ef.ingest.streams.
type Info struct {
	Time            time.Time   `json:"time"` // of the process
	Durability      string      `json:"durability"`
	BytesWaiting    int64       `json:"bytes_waiting"`
	BytesWaitingMax int64       `json:"bytes_waiting_max"`
	EventBytesMax   int         `json:"event_bytes_max"`
	Accepted        uint64      `json:"accepted"` // events handed to a log; each app that reads them counts
	Refused         uint64      `json:"refused"`  // events not accepted; each app that would read them counts
	Unknown         uint64      `json:"unknown"`  // messages for streams that do not exist
	Overload        uint64      `json:"overload"` // messages refused because too much waits
	Slow            uint64      `json:"slow"`     // messages refused because a task is too far behind, or over a limit
	Closed          []ClosedLog `json:"closed,omitempty"`
	Unavailable     uint64      `json:"unavailable"` // messages refused because an app accepts none at the moment
	Dropped         uint64      `json:"dropped"`     // messages lost whose publishers asked for no answer, or got none
	Failed          uint64      `json:"failed"`      // messages not known to be durable
	Unanswered      uint64      `json:"unanswered"`  // answers that could not be sent
	DeadLost        uint64      `json:"dead_letters_lost"`
	Damaged         []string    `json:"damaged,omitempty"` // records in the files of the streams, as texts; Scrub has more
	NoRoom          string      `json:"no_room,omitempty"` // why the disk has no room for events
	Stalled         []string    `json:"stalled,omitempty"` // logs that accept no frames, since when and why
	// Scrub is nil in a process without an embedded server.
	Scrub   *control.Scrub `json:"scrub,omitempty"`
	Apps    []AppState     `json:"apps"`
	Streams []InfoStream   `json:"streams"`
}

// ClosedLog is a log that refuses events, or did so in the last 5 s, because its task lags or
// is over its memory limit.
type ClosedLog struct {
	App       string `json:"app"`
	Partition uint32 `json:"partition"`
	Reason    string `json:"reason"` // Lagging or OverLimit
	Text      string `json:"text"`
}

// Reasons of closed logs.
const (
	Lagging   = "lagging"
	OverLimit = "over_limit"
)

// InfoStream is one stream of one app.
type InfoStream struct {
	App        string          `json:"app"`
	Stream     string          `json:"stream"`
	Subject    string          `json:"subject"`
	Partitions int             `json:"partitions"`
	Attributes []InfoAttribute `json:"attributes"`
	Accepted   uint64          `json:"accepted"`
	Refused    uint64          `json:"refused"`
	Clamped    uint64          `json:"clamped,omitempty"`  // accepted events with the arrival as their time, because their own time was later
	Ahead      uint64          `json:"ahead,omitempty"`    // refused events whose time was too far ahead
	Ignored    uint64          `json:"ignored,omitempty"`  // events with members that are no attributes
	Timeless   uint64          `json:"timeless,omitempty"` // refused events without a time, which the app needs
	Origin     string          `json:"origin,omitempty"`   // the JetStream stream of @source(stream='…'), or of a table's KV bucket
	Bucket     string          `json:"bucket,omitempty"`   // the KV bucket of a table (@source(kv='…'))
	Results    []InfoResults   `json:"results,omitempty"`  // if events are read from JetStream: an origin, or another app's results
}

// InfoResults is a JetStream stream that a stream's events come from.
type InfoResults struct {
	JetStream string `json:"jetstream,omitempty"` // "" while none is known
	Consumer  string `json:"consumer,omitempty"`
	State     string `json:"state"`            // "reading" or "waiting"
	Reason    string `json:"reason,omitempty"` // why it waits
	Taken     uint64 `json:"taken"`            // results since the start
	Repeated  uint64 `json:"repeated"`         // results among those that a log had already
	// For an origin:
	Lag       uint64 `json:"lag,omitempty"`       // messages after the newest one that was delivered
	Skipped   uint64 `json:"skipped,omitempty"`   // sequences whose messages were removed before they were read
	Recreated uint64 `json:"recreated,omitempty"` // times that it was deleted and created again
}

// InfoAttribute is one attribute of a stream.
type InfoAttribute struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Info returns the streams and the counts so far.
func (s *Service) Info() Info {
	c := &s.counters
	info := Info{
		Time:            time.Now().UTC(),
		Durability:      s.cfg.Durability.String(),
		BytesWaiting:    c.waiting.Load(),
		BytesWaitingMax: s.cfg.MemoryMax,
		EventBytesMax:   s.cfg.EventBytesMax,
		Unknown:         c.unknown.n.Load(),
		Overload:        c.overload.n.Load(),
		Slow:            c.slow.n.Load(),
		Unavailable:     c.unavailable.n.Load(),
		Dropped:         c.dropped.n.Load(),
		Failed:          c.failed.n.Load(),
		Unanswered:      c.unanswered.n.Load(),
		DeadLost:        c.deadLost.n.Load(),
		Streams:         []InfoStream{},
		Apps:            s.Apps(),
	}
	if info.Scrub = s.cfg.Scrub(); info.Scrub != nil {
		for i := range info.Scrub.Damaged {
			info.Damaged = append(info.Damaged, info.Scrub.Damaged[i].String())
		}
	}
	if err := s.cfg.Room(); err != nil {
		info.NoRoom = err.Error()
	}
	for _, u := range s.all() {
		info.add(u, s.cfg.LagMax)
	}
	return info
}

// add adds the information about an app.
func (info *Info) add(u *unit, lagMax time.Duration) {
	for _, l := range u.logs {
		if err := l.health(); err != nil {
			info.Stalled = append(info.Stalled, err.Error())
		}
		if p := l.closedLately(lagMax); p != nil {
			info.Closed = append(info.Closed, ClosedLog{App: l.app, Partition: l.part, Reason: reasons[p.code], Text: p.text})
		}
	}
	links := u.linked()
	bucketName := func(src *source) string {
		if b := src.stream.ReadsBucket(); b != nil {
			return b.Name
		}
		return ""
	}
	for _, src := range u.served() {
		one := InfoStream{
			Origin: originOf(src), Bucket: bucketName(src), App: src.app.Name, Stream: src.stream.Name, Subject: src.stream.Subject, Partitions: src.app.Partitions,
			Accepted: src.accepted.Load(), Refused: src.refused.Load(),
			Clamped: src.clamped.Load(), Ahead: src.ahead.Load(), Timeless: src.timeless.Load(), Ignored: src.ignored.Load(),
		}
		for _, a := range src.stream.Schema.Attrs {
			one.Attributes = append(one.Attributes, InfoAttribute{a.Name, a.Type.String()})
		}
		for _, l := range links {
			if l.source == src {
				one.Results = l.info()
			}
		}
		info.Accepted += one.Accepted
		info.Refused += one.Refused
		info.Streams = append(info.Streams, one)
	}
}

func originOf(src *source) string {
	if o := src.stream.Origin; o != nil {
		return o.JetStream
	}
	if b := src.stream.ReadsBucket(); b != nil {
		return "KV_" + b.Name
	}
	return ""
}

// info returns the state of each stream that the link reads.
func (l *link) info() []InfoResults {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []InfoResults
	if l.trouble != "" {
		all = append(all, InfoResults{State: "waiting", Reason: l.trouble})
	}
	if b := l.bucket; b != nil {
		b.mu.Lock()
		one := InfoResults{
			JetStream: b.stream, Consumer: b.name, State: "reading", Reason: b.trouble,
			Taken: b.taken.Load(), Lag: b.pending.Load(), Recreated: b.recreated.Load(),
		}
		b.mu.Unlock()
		if one.Reason != "" {
			one.State = "waiting"
		}
		all = append(all, one)
	}
	for _, f := range l.followers {
		f.mu.Lock()
		one := InfoResults{
			JetStream: f.stream, Consumer: f.consumer, State: "reading", Reason: f.trouble,
			Taken: f.taken.Load(), Repeated: f.repeated.Load(),
		}
		f.mu.Unlock()
		if o := f.origin; o != nil {
			one.Lag, one.Skipped, one.Recreated = o.pending.Load(), o.skipped.Load(), o.recreated.Load()
		}
		if one.Reason != "" {
			one.State = "waiting"
		}
		all = append(all, one)
	}
	return all
}

// openInfo registers the service.
func (s *Service) openInfo() (micro.Service, error) {
	svc, err := micro.AddService(s.cfg.Conn, micro.Config{
		Name:        natsconn.ServiceName("ingest"),
		Version:     s.cfg.Version,
		Description: "accepts events and appends them to the logs of apps",
		// The stats come from each process of the service; only one process answers an endpoint.
		StatsHandler: func(*micro.Endpoint) any { return s.Info() },
		Metadata: natsconn.Where(map[string]string{
			"durability": s.cfg.Durability.String(),
			"guarantee":  s.cfg.Durability.Guarantee(),
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("ingest: register the service: %w", err)
	}
	streams := micro.HandlerFunc(func(r micro.Request) { _ = r.RespondJSON(s.Info()) }) // micro counts what fails
	if err := svc.AddEndpoint("streams", streams, micro.WithEndpointSubject(natsconn.ServiceSubject("ingest", "streams"))); err != nil {
		_ = svc.Stop()
		return nil, fmt.Errorf("ingest: register the service: %w", err)
	}
	return svc, nil
}
