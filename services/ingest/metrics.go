package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// loopMax is how long the service's loop, which reads counters once a second, may be silent
// before it counts as stuck.
const loopMax = time.Minute

// reasons are the values of the label reason, by errCode.
var reasons = map[errCode]string{
	unknownStream: "unknown_stream", tooLarge: "too_large", badHeader: "bad_header", eventsRefused: "bad_event",
	overloaded: "overloaded", diskFull: "disk_full", unknownOutcome: "unknown_outcome", logFailed: "log_failed",
	lagging: Lagging, appUnavailable: "app_unavailable", overLimit: OverLimit,
}

// newAppended measures how long publishers wait: from the sending of a frame until it is
// durable. That is a round trip and, if the server syncs, an fsync.
func newAppended() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "eventflux_log_append_seconds", Help: "Time from sending a frame to the log until it is acknowledged as durable: round trip and fsync.",
		Buckets: prometheus.ExponentialBuckets(125e-6, 2, 16), // to 4 s
	}, []string{"app", "partition"})
}

// Collectors returns the metrics of the service.
func (s *Service) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.appended, s.wholeTable(), s.appTable(), s.streamTable(), s.reasonTable(), s.logTable(), s.resultTable()}
}

func (s *Service) wholeTable() prometheus.Collector {
	c := &s.counters
	count := func(t *tally) func(*struct{}) float64 {
		return func(*struct{}) float64 { return float64(t.n.Load()) }
	}
	return metric.NewTable(nil, func(*struct{}) []string { return nil }, func() []struct{} { return make([]struct{}, 1) },
		metric.Gauge("eventflux_ingest_waiting_bytes", "Events accepted and not known to be durable yet, as bytes in memory.",
			func(*struct{}) float64 { return float64(c.waiting.Load()) }),
		metric.Gauge("eventflux_ingest_waiting_limit_bytes", "Bound of eventflux_ingest_waiting_bytes (ingest.memory_max).",
			func(*struct{}) float64 { return float64(s.cfg.MemoryMax) }),
		metric.Gauge("eventflux_ingest_queued_bytes", "Messages that wait to be handled, as bytes in memory; bounded by eventflux_ingest_waiting_limit_bytes, too.",
			func(*struct{}) float64 { return float64(s.listener.queue.bytes.Load()) }),
		metric.Counter("eventflux_ingest_dropped_messages_total", "Messages lost whose publishers asked for no answer, or got none.", count(&c.dropped)),
		metric.Counter("eventflux_ingest_unanswered_messages_total", "Answers to publishers that could not be sent.", count(&c.unanswered)),
		metric.Counter("eventflux_ingest_dead_letters_total", "Refused events, and messages, handed to the dead-letter streams.",
			func(*struct{}) float64 { return float64(s.dead.taken.Load()) }),
		metric.Counter("eventflux_ingest_dead_letters_lost_total", "Dead letters that were not stored.", count(&c.deadLost)))
}

func (s *Service) appTable() prometheus.Collector {
	return metric.NewTable([]string{"app"}, func(a *AppState) []string { return []string{a.App} }, s.Apps,
		metric.Gauge("eventflux_ingest_app_serving", "1 while events for the app are accepted, else 0.",
			func(a *AppState) float64 { return metric.Bool(a.State == Serving) }))
}

func (s *Service) streamTable() prometheus.Collector {
	return metric.NewTable([]string{"app", "stream"},
		func(src **source) []string { return []string{(*src).app.Name, (*src).stream.Name} },
		func() (all []*source) {
			for _, u := range s.all() {
				all = append(all, u.served()...)
			}
			return all
		},
		metric.Counter("eventflux_ingest_accepted_events_total", "Events handed to the logs of an app.",
			func(src **source) float64 { return float64((*src).accepted.Load()) }),
		metric.Counter("eventflux_ingest_refused_events_total", "Events refused; a message that is refused as a whole counts as one.",
			func(src **source) float64 { return float64((*src).refused.Load()) }),
		metric.Counter("eventflux_ingest_clamped_events_total", "Events whose own time was after their arrival, which they got instead.",
			func(src **source) float64 { return float64((*src).clamped.Load()) }),
		metric.Counter("eventflux_ingest_ahead_events_total", "Events refused because their time was further ahead than @app:playback(ahead='…') allows.",
			func(src **source) float64 { return float64((*src).timed.ahead.Load()) }),
		metric.Counter("eventflux_ingest_ignored_members_events_total", "Events with members that are no attributes of the stream: these members are ignored, unless @map(strict='true') refuses the events.",
			func(src **source) float64 { return float64((*src).ignored.Load()) }),
		metric.Counter("eventflux_ingest_timeless_events_total", "Events refused because they had no time, which drives the clock of a playback app.",
			func(src **source) float64 { return float64((*src).timeless.Load()) }))
}

func (s *Service) reasonTable() prometheus.Collector {
	all := make([]errCode, 0, len(reasons))
	for code := range reasons {
		all = append(all, code)
	}
	return metric.NewTable([]string{"reason"},
		func(c *errCode) []string { return []string{reasons[*c]} },
		func() []errCode { return all },
		metric.Counter("eventflux_ingest_refusals_total", "Messages not taken, and for bad_event the events, by reason.",
			func(c *errCode) float64 { return float64(s.counters.reasons[*c-unknownStream].Load()) }))
}

func (s *Service) logTable() prometheus.Collector {
	return metric.NewTable([]string{"app", "partition"},
		func(l **log) []string { return []string{(*l).app, natsconn.Decimal((*l).part)} },
		func() (all []*log) {
			for _, u := range s.all() {
				all = append(all, u.logs...)
			}
			return all
		},
		metric.Counter("eventflux_log_appended_frames_total", "Frames that are durable in the log.",
			func(l **log) float64 { return float64((*l).stats().Frames) }),
		metric.Counter("eventflux_log_appended_events_total", "Events in those frames.",
			func(l **log) float64 { return float64((*l).stats().Rows) }),
		metric.Counter("eventflux_log_appended_bytes_total", "Bytes of those frames, as encoded.",
			func(l **log) float64 { return float64((*l).stats().Bytes) }),
		metric.Counter("eventflux_log_repeated_frames_total", "Frames sent again because their outcome was not known.",
			func(l **log) float64 { return float64((*l).stats().Repeats) }),
		metric.Gauge("eventflux_log_pending_bytes", "Events that wait to be sent to the log, as bytes in memory.",
			func(l **log) float64 { return float64((*l).stats().Pending) }),
		metric.Gauge("eventflux_log_closed", "1 while events are refused, and for 5 s after it, because the log's task is too far behind (ingest.lag_max) or over one of its limits, else 0.",
			func(l **log) float64 { return metric.Bool((*l).closedLately(s.cfg.LagMax) != nil) }),
		metric.Gauge("eventflux_log_stalled", "1 while the log takes no frames, else 0.",
			func(l **log) float64 { return metric.Bool((*l).health() != nil) }))
}

func (s *Service) resultTable() prometheus.Collector {
	type row struct {
		InfoResults
		app, stream string
	}
	return metric.NewTable([]string{"app", "stream", "jetstream"},
		func(r *row) []string { return []string{r.app, r.stream, r.JetStream} },
		func() []row {
			var rows []row
			for _, u := range s.all() {
				for _, l := range u.linked() {
					for _, r := range l.info() {
						rows = append(rows, row{r, l.source.app.Name, l.source.stream.Name})
					}
				}
			}
			return rows
		},
		metric.Gauge("eventflux_ingest_source_lag_messages", "Messages that the JetStream stream of a source has after the newest that was read.",
			func(r *row) float64 { return float64(r.Lag) }),
		metric.Counter("eventflux_ingest_source_skipped_total", "Sequences of the JetStream stream of a source that had no message any more when they were read.",
			func(r *row) float64 { return float64(r.Skipped) }),
		metric.Counter("eventflux_ingest_results_taken_total", "Results of another app, or messages of the JetStream stream of a source, taken as events.",
			func(r *row) float64 { return float64(r.Taken) }),
		metric.Counter("eventflux_ingest_results_repeated_total", "Of those, the ones that a log had already.",
			func(r *row) float64 { return float64(r.Repeated) }),
		metric.Gauge("eventflux_ingest_results_waiting", "1 while results of another app, or the JetStream stream of a source, cannot be read, else 0.",
			func(r *row) float64 { return metric.Bool(r.State == "waiting") }))
}

// Checks says how the service is, for /healthz and /readyz.
func (s *Service) Checks() []obs.Check {
	return []obs.Check{
		{Name: "ingest loop", Ask: func() error { return s.beat.Check(loopMax) }},
		{Name: "logs", Of: obs.Ready, Ask: func() error {
			for _, u := range s.all() {
				for _, l := range u.logs {
					if err := l.health(); err != nil {
						return fmt.Errorf("events are not accepted: %w", err)
					}
				}
			}
			return nil
		}},
		{Name: "apps", Of: obs.Ready, Ask: func() error {
			for _, a := range s.Apps() {
				switch a.State {
				case Starting:
					return fmt.Errorf("app %s is starting: %s", a.App, a.Reason)
				case Waiting:
					return fmt.Errorf("events for app %s are refused until this is over: %s", a.App, a.Reason)
				case LeftOut:
					return fmt.Errorf("app %s is left out: %s; remove it with eventflux app rm", a.App, a.Reason)
				}
			}
			return nil
		}},
		{Name: "events are refused", Of: obs.Warning, Ask: func() error {
			for _, u := range s.all() {
				for _, l := range u.logs {
					if p := l.closedLately(s.cfg.LagMax); p != nil {
						return errors.New(p.text)
					}
				}
			}
			return nil
		}},
	}
}
