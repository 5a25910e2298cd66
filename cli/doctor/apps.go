package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/ingest"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const (
	abortsError     = 3  // in a row
	intervalsBehind = 10 // of checkpoint.interval, without a checkpoint
)

func partition(app string, p uint32) string { return fmt.Sprintf("%s/%d", app, p) }

// checkStreams compares the JetStream streams with the streams that the product would make.
func (p *examination) checkStreams(_ context.Context, r *report) {
	if p.appsErr != nil {
		return
	}
	wanted := map[string]bool{"KV_" + natsconn.ClusterBucket: true, "KV_" + natsconn.LinksBucket: true}
	for _, a := range p.apps {
		for part := range a.Partitions {
			p.checkStream(r, wanted, natsconn.WALStream(a.Name, part), "events cannot be accepted, or their log is lost",
				func(c jetstream.StreamConfig) []string { return natsconn.WALDifferences(c, a.Name, part) })
			p.checkLimits(r, natsconn.WALStream(a.Name, part), natsconn.LogLimits)
			p.checkStream(r, wanted, natsconn.OutStream(a.Name, part), "results cannot be put out, or they are lost",
				func(c jetstream.StreamConfig) []string { return natsconn.OutDifferences(c, a.Name, part) })
			p.checkLimits(r, natsconn.OutStream(a.Name, part), natsconn.ServerLimits)
		}
		p.checkStream(r, wanted, natsconn.DLQStream(a.Name), "refused events are not kept",
			func(c jetstream.StreamConfig) []string { return natsconn.DLQDifferences(c, a.Name) })
	}
	for name, s := range p.streams {
		if !wanted[name] {
			r.add(Warning, name, "if it is not needed any more: nats stream rm "+name,
				"it belongs to no deployed app, and keeps %s", config.Size(s.state.Bytes).Rounded())
		}
	}
	slices.SortStableFunc(r.findings, func(a, b Finding) int { return strings.Compare(a.Subject, b.Subject) })
	r.fine("streams", "%d are as the services make them", len(p.streams))
}

func (p *examination) checkStream(r *report, wanted map[string]bool, name, lost string, differences func(jetstream.StreamConfig) []string) {
	wanted[name] = true
	s := p.streams[name]
	if s == nil {
		r.add(Error, name, p.fix("restart eventflux run: it makes what is missing", "start the checkpointers: they make what is missing")+". If it was there before, see 'NATS is lost' in docs/operations.md", "it is not there, or has no leader: %s", lost)
		return
	}
	for _, d := range differences(s.config) {
		setting, _, _ := strings.Cut(d, " ")
		fix := "stop the services, restore the stream as it was, and start them; or start over: eventflux app rm"
		if flag := editable[setting]; flag != "" {
			fix = "nats stream edit " + name + " " + flag + " -f"
		}
		r.add(Error, name, fix, "%s: %s", d, meanings[setting])
	}
	if most := s.config.MaxBytes; most > 0 && s.config.Discard == jetstream.DiscardNew {
		used := float64(s.state.Bytes) / float64(most)
		severity := Warning
		if used > usedError {
			severity = Error
		}
		if used > usedWarning {
			r.add(severity, name, "raise wal.bytes_max"+p.fix(" and restart eventflux run", " at the checkpointers")+", or keep less: retention.span and retention.checkpoints",
				"it holds %.0f %% of the %s that it may: when it is full it takes no more", 100*used, config.Size(most).Rounded())
		}
	}
}

// checkLimits reports limits of a stream that the services have not set.
func (p *examination) checkLimits(r *report, name string, limits func(jetstream.StreamConfig) []string) {
	s := p.streams[name]
	if s == nil {
		return
	}
	for _, l := range limits(s.config) {
		setting, _, _ := strings.Cut(l, " ")
		limit := byHand[setting]
		r.add(Warning, name, "if that is not wanted: nats stream edit "+name+" "+limit.remove+" -f", "%s, set by hand: %s", l, limit.meaning)
	}
}

// byHand are the limits that only an operator sets.
var byHand = map[string]struct{ meaning, remove string }{
	"max_age":       {"results are forgotten by age, and a reader that was away longer misses them", "--max-age 0s"},
	"max_bytes":     {"once it is full, it takes no more results, and the task waits", "--max-bytes=-1"},
	"max_msg_size":  {"a larger message is refused, and a task or ingest that has one cannot continue", "--max-msg-size=-1"},
	"max_consumers": {"more readers than that are refused, tasks and followers among them", "--max-consumers=-1"},
}

// editable are the settings that an operator can fix, and how.
var editable = map[string]string{
	"discard":              "--discard new",
	"max_age":              "--max-age 0s",
	"max_msgs":             "--max-msgs=-1",
	"max_msgs_per_subject": "--max-msgs-per-subject=-1",
	"allow_atomic":         "--allow-batch",
}

// meanings are the consequences of wrong settings.
var meanings = map[string]string{
	"discard":              "a full stream forgets its oldest messages without a word",
	"max_age":              "the log forgets by age, whether a checkpoint has it or not",
	"max_msgs":             "beyond that number messages are refused or forgotten",
	"max_msgs_per_subject": "older messages of a subject are forgotten",
	"allow_atomic":         "results cannot be put out together",
	"storage":              "what it holds does not survive a restart of the server",
	"retention":            "messages go when they are read",
	"deny_delete":          "single messages can be deleted, which is a hole in the log",
	"no_ack":               "nothing is acknowledged",
	"persist_mode":         "messages are acknowledged before they are written",
	"compression":          "the server's compression has damaged streams; frames are compressed already",
	"sealed":               "it takes no more messages",
	"subjects":             "it takes other messages than it should",
	"mirror":               "it is a copy, and cannot be written",
	"sources":              "it takes in messages of other streams",
	"subject_transform":    "messages get other subjects",
	"deny_purge":           "the log cannot be trimmed, and grows for ever",
}

// checkReplicas checks whether the loss of one server would lose a stream.
func (p *examination) checkReplicas(_ context.Context, r *report) {
	clustered := false
	for _, name := range sortedNames(p.streams) {
		s := p.streams[name]
		if s.cluster == nil || s.cluster.Name == "" {
			continue
		}
		clustered = true
		if s.cluster.Leader == "" {
			r.add(Error, name, p.fix("restart eventflux run: its log says what is wrong with the stream", "bring the NATS servers back that hold it: nats stream info "+name), "it has no leader: nothing can be written to it")
		}
		for _, replica := range s.cluster.Replicas {
			if replica.Offline || !replica.Current {
				r.add(Warning, name, "bring NATS server "+replica.Name+" back, and look at its log", "its copy on %s is behind or away; the loss of one more server may stop it", replica.Name)
			}
		}
		if s.config.Replicas < 2 {
			r.add(Warning, name, "set nats.replicas to 3 at all checkpointers and restart them", "it has one copy in cluster %s: with its server the app stops, and with its disk the data are gone", s.cluster.Name)
		}
	}
	switch {
	case len(p.streams) == 0:
		r.fine("streams", "there are none")
	case clustered:
		r.fine("streams", "all have copies on several servers")
	default:
		r.fine("streams", "JetStream is no cluster here, so there is one copy of each; a loss of its disk is survived by the store of checkpoints alone")
	}
}

// checkCheckpoints checks whether checkpoints are made.
func (p *examination) checkCheckpoints(ctx context.Context, r *report) {
	if p.appsErr != nil {
		return
	}
	for _, a := range p.apps {
		p.checkApp(ctx, r, &a)
	}
	r.fine("apps", "the newest checkpoint of each is recent and can be read")
}

func (p *examination) checkApp(ctx context.Context, r *report, a *control.App) {
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var list control.CheckpointList
	if err := p.control.Do(limited, control.VerbCheckpoints, control.AppRequest{App: a.Name}, &list); err != nil {
		r.add(Unknown, a.Name, "see the findings about the leader", "the checkpointer does not list its checkpoints: %v", err)
		return
	}
	aborts, reason, newest := 0, "", a.Deployed
	for _, k := range list.Checkpoints {
		if k.State == control.CheckpointAborted {
			if aborts++; reason == "" {
				reason = k.Reason
			}
		}
		if k.State == control.CheckpointCommitted {
			newest = k.Time
			break
		}
	}
	if aborts > 0 {
		severity := Warning
		if aborts >= abortsError {
			severity = Error
		}
		r.add(severity, a.Name, "remove the cause; then eventflux checkpoint trigger "+a.Name, "the last %d checkpoints were aborted: %s. Nothing is lost, but a restart replays more and more", aborts, reason)
	}
	behind := max(intervalsBehind*p.Settings.Checkpoint.Interval, time.Minute)
	switch age := time.Since(newest).Round(time.Second); {
	case age > max(p.Settings.Retention.Span, behind):
		r.add(Error, a.Name, "eventflux checkpoint trigger "+a.Name+" says what keeps one from being made",
			"its newest checkpoint is %s old, which is longer than retention.span: the log after it cannot be trimmed, and a restart replays all of it", age)
	case age > behind:
		r.add(Warning, a.Name, "eventflux checkpoint trigger "+a.Name+" says what keeps one from being made", "its newest checkpoint is %s old, and one is due every %s", age, p.Settings.Checkpoint.Interval)
	}
}

// checkLogs checks, as a start would, whether each log fits the newest checkpoint.
func (p *examination) checkLogs(ctx context.Context, r *report) {
	if p.appsErr != nil {
		return
	}
	for _, a := range p.apps {
		if a.Checkpoint == 0 {
			for part := range a.Partitions {
				if s := p.streams[natsconn.WALStream(a.Name, part)]; s != nil && s.state.FirstSeq > 1 {
					r.add(Error, natsconn.WALStream(a.Name, part), "see 'the log is damaged' in docs/operations.md", "the app has no checkpoint, and its log starts at %d: everything before is lost", s.state.FirstSeq)
				}
			}
			continue
		}
		m, err := p.newest(ctx, a.Name)
		if err != nil {
			r.add(Error, a.Name, "see that the store can be reached from the checkpointer; then eventflux checkpoint verify "+a.Name, "its newest checkpoint cannot be read: %v", err)
			continue
		}
		for i := range m.Partitions {
			wrong := p.wrongLog(ctx, m, i)
			if wrong != "" { // it may have been trimmed for a checkpoint that is newer still
				if again, err := p.newest(ctx, a.Name); err == nil && again.Epoch != m.Epoch {
					wrong = p.wrongLog(ctx, again, i)
				}
			}
			if wrong != "" {
				r.add(Error, m.Partitions[i].Log.Stream, "see 'the log is damaged' in docs/operations.md", "%s. A task that starts halts", wrong)
			}
		}
	}
	r.fine("logs", "they reach back to the newest checkpoints")
}

// wrongLog returns why a task could not start from a checkpoint with the log of a partition,
// or "". It looks at the log after reading the checkpoint, so the log may have grown.
func (p *examination) wrongLog(ctx context.Context, m *checkpoint.Manifest, part int) string {
	l := &m.Partitions[part].Log
	s := p.lookAtStream(ctx, l.Stream)
	switch {
	case s == nil:
		return "" // checkStreams says so
	case !s.created.Equal(l.Created):
		return fmt.Sprintf("it was made %s, and the log that checkpoint %d was cut from %s: it is another one", s.created.UTC().Format(time.RFC3339), m.Epoch, l.Created.UTC().Format(time.RFC3339))
	case s.state.LastSeq < l.Sequence:
		return fmt.Sprintf("it ends at %d, and checkpoint %d was cut at %d: its end is lost", s.state.LastSeq, m.Epoch, l.Sequence)
	case s.state.FirstSeq > l.Sequence:
		return fmt.Sprintf("it starts at %d, and a start from checkpoint %d needs it from %d on", s.state.FirstSeq, m.Epoch, l.Sequence)
	case s.state.NumDeleted > 0:
		return fmt.Sprintf("%d messages in it are deleted: a task that reads them halts", s.state.NumDeleted)
	}
	return ""
}

// checkIngest reports problems that otherwise only publishers see.
func (p *examination) checkIngest(ctx context.Context, r *report) {
	for _, in := range p.intakes {
		i := &in.info
		if used := float64(i.BytesWaiting) / float64(max(i.BytesWaitingMax, 1)); used > usedWarning {
			r.add(Warning, in.who, "see that the logs take frames (eventflux_log_append_seconds); raise ingest.memory_max for bursts", "%.0f %% of what may wait to be durable does: soon publishers are turned away", 100*used)
		}
		if i.NoRoom != "" {
			r.add(Error, in.who, "make room on that disk, or lower disk.reserve; events are taken again by themselves then", "events are refused: %s", i.NoRoom)
		}
		p.checkScrub(ctx, r, &in)
		for _, a := range i.Apps {
			switch a.State {
			case ingest.LeftOut:
				r.add(Error, in.who, "correct what the reason names; or remove the app: eventflux app rm "+a.App, "app %s is left out, and it takes no events: %s", a.App, a.Reason)
			case ingest.Waiting:
				r.add(Warning, in.who, "correct what the reason names; ingest tries again by itself", "events for app %s are refused: %s", a.App, a.Reason)
			}
		}
		for _, log := range i.Stalled {
			r.add(Error, in.who, p.fix("see that the disk of the data folder works and has room; it goes on by itself then", "see that the disk of the NATS server has room; if it had none, make room and restart the server: it takes nothing more until then"), "publishers are not answered: %s", log)
		}
		for _, log := range i.Closed {
			if log.Reason != ingest.OverLimit { // checkTask says what its limit is
				r.add(Warning, partition(log.App, log.Partition), p.fixLag(), "events are refused: %s", log.Text)
			}
		}
		if i.Failed > 0 {
			r.add(Warning, in.who, "publishers must publish again, with the same Nats-Msg-Id; the service's log has the reasons", "%d messages are not known to be durable", i.Failed)
		}
		if i.Dropped > 0 {
			r.add(Warning, in.who, "publish with a reply subject, and wait for the answers", "%d messages were lost whose publishers asked for no answer", i.Dropped)
		}
		if i.DeadLost > 0 {
			r.add(Warning, in.who, "see that the EFD_ streams take messages: nats stream ls", "%d refused events could not be kept as dead letters", i.DeadLost)
		}
		for _, s := range i.Streams {
			checkTimes(r, &s)
			for _, from := range s.Results {
				if s.Bucket != "" {
					checkBucket(r, &s, &from)
				} else if s.Origin != "" {
					checkOrigin(r, &s, &from)
				} else if from.State == "waiting" {
					r.add(Warning, s.App+" "+s.Stream, "deploy the app whose results it reads, or wait for it", "results of another app cannot be read: %s", from.Reason)
				}
			}
		}
	}
	r.fine("ingest", "nothing was lost or had to wait%s", p.scrubs())
}

// sourceLagWarning is how many messages a source may have before it that are not read yet.
const sourceLagWarning = 100_000

// checkOrigin checks how the JetStream stream of a source is read.
func checkOrigin(r *report, s *ingest.InfoStream, from *ingest.InfoResults) {
	who := s.App + " " + s.Stream
	if from.State == "waiting" {
		r.add(Warning, who, "correct what the reason names; ingest tries again by itself", "JetStream stream %s is not read: %s", s.Origin, from.Reason)
	}
	if from.Skipped > 0 {
		r.add(Warning, who, "nothing brings them back; see who purges the stream, and whether its limits are too small for the time that EventFlux may be stopped", "%d sequences of JetStream stream %s had no message any more when they were read", from.Skipped, s.Origin)
	}
	if from.Recreated > 0 {
		r.add(Warning, who, "nothing, if that was on purpose", "JetStream stream %s was deleted and created again, and is read from its first message on", s.Origin)
	}
	if from.Lag > sourceLagWarning {
		r.add(Warning, who, "nothing, while it reads what was there before the app; else see that the app's tasks can keep up", "%d messages of JetStream stream %s are not read yet", from.Lag, s.Origin)
	}
}

// checkBucket checks how the KV bucket of a table is read.
func checkBucket(r *report, s *ingest.InfoStream, from *ingest.InfoResults) {
	who := s.App + " " + s.Stream
	if from.State == "waiting" {
		r.add(Warning, who, "correct what the reason names; ingest tries again by itself", "the table does not follow KV bucket %s, and keeps the rows that it has: %s", s.Bucket, from.Reason)
	}
	if from.Recreated > 0 {
		r.add(Warning, who, "nothing, if that was on purpose", "KV bucket %s was deleted and created again, and the table has its new rows", s.Bucket)
	}
	if s.Refused > 0 {
		r.add(Warning, who, "see the dead letters for the reasons, and put values again that can be rows", "%d values of KV bucket %s cannot be rows of the table", s.Refused, s.Bucket)
	}
	if from.Lag > sourceLagWarning {
		r.add(Warning, who, "nothing, while it is loaded; else see that the app's tasks can keep up", "%d values of KV bucket %s are not read yet", from.Lag, s.Bucket)
	}
}

// checkTimes checks whether publishers send event times that the app cannot use.
func checkTimes(r *report, s *ingest.InfoStream) {
	who := s.App + " " + s.Stream
	if s.Clamped > 0 {
		r.add(Warning, who, "see that the publishers' clocks are right, and that Ef-Timestamp is in ms", "%d events had a time after their arrival; the time of their arrival was taken instead", s.Clamped)
	}
	if s.Ahead > 0 {
		r.add(Warning, who, "see that the publishers' clocks are right; or raise ahead of @app:playback", "%d events were refused, as their time is too far ahead", s.Ahead)
	}
	if s.Timeless > 0 {
		r.add(Warning, who, "publish them with the header Ef-Timestamp (eventflux publish --ts ATTRIBUTE), or name the attribute that has the time: @source(timestamp='…')", "%d events were refused, as they have no time and the app goes by it", s.Timeless)
	}
}

func sortedNames(streams map[string]*stream) []string {
	names := make([]string, 0, len(streams))
	for name := range streams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
