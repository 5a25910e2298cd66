package natsconn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/lang/subject"
)

const (
	// duplicatesMin is the shortest window the server takes. Nothing here
	// carries Nats-Msg-Id, so the window has nothing to hold; the log's own
	// numbering finds duplicates.
	duplicatesMin = 100 * time.Millisecond

	dlqAgeMax = 7 * 24 * time.Hour
	// The server sets aside what a stream may have, whether it has it or not: with more,
	// a hundred apps would not fit on an ordinary disk.
	dlqBytesMax = 64 << 20

	// A stream that was just deleted still has its folder on the disk, and creating it again
	// fails with this code until the folder is gone.
	errCodeCreate   jetstream.ErrorCode = 10049
	errCodeNoRoom   jetstream.ErrorCode = 10047
	createAttempts                      = 40
	createRetryWait                     = 50 * time.Millisecond

	// Each takes its leader and its disk some milliseconds, and an app may have hundreds.
	ensuredAtOnce = 8
)

// ErrNoStream is returned when a stream of an app is missing. Wait: only the checkpointers may
// make it, and they will.
var ErrNoStream = errors.New("it is not there; the checkpointers make it when they deploy the app, and look for it once a minute")

// StreamConfigOf returns the settings that EnsureApp gives a stream of that name. ok is
// false for a stream that is none of an app.
func StreamConfigOf(name string, l StreamLimits) (cfg jetstream.StreamConfig, ok bool) {
	kind, app, p, ok := parseStream(name)
	switch {
	case !ok:
		return cfg, false
	case kind == "EFD":
		return dlqConfig(app, StreamLimits{Replicas: l.Replicas}), true
	case kind == "EFW":
		return walConfig(app, p, l), true
	}
	return outConfig(app, p, StreamLimits{Replicas: l.Replicas}), true
}

// LogOf returns the app and the partition whose log a JetStream stream is; false for other streams.
func LogOf(stream string) (app string, p uint32, ok bool) {
	kind, app, p, ok := parseStream(stream)
	return app, p, ok && kind == "EFW"
}

// parseStream splits the name of an app's stream. ok is false for other streams.
func parseStream(name string) (kind, app string, p uint32, ok bool) {
	kind, app, _ = strings.Cut(name, "_")
	if kind == "EFD" {
		return kind, app, 0, subject.CheckName(app) == nil
	}
	cut := strings.LastIndexByte(app, '_')
	if cut < 0 || kind != "EFW" && kind != "EFO" {
		return "", "", 0, false
	}
	digits := app[cut+1:]
	app = app[:cut]
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || decimal(uint32(n)) != digits || subject.CheckName(app) != nil {
		return "", "", 0, false
	}
	return kind, app, uint32(n), true
}

// StreamDifferences lists the settings of a stream that differ from those wanted and under
// which its promises do not hold.
func StreamDifferences(have, want jetstream.StreamConfig) []string { return differences(have, want) }

// closedError is an ErrNoStream too: a log without its deploy frame is as good as not there.
type closedError struct {
	stream string
	log    jetstream.Stream
}

func (e *closedError) Error() string {
	return fmt.Sprintf("JetStream stream %s takes no frames yet: the checkpointers append its deploy frame first", e.stream)
}

func (e *closedError) Is(target error) bool { return target == ErrNoStream }

// StreamLimits are the settings of a JetStream stream that an operator may
// choose, and change later: an existing stream is updated to them.
type StreamLimits struct {
	Replicas int           // copies in the cluster; 0 is 1
	BytesMax int64         // 0 is no limit but the server's
	AgeMax   time.Duration // not for logs; see EnsureOut
}

// IncompatibleError says that a stream exists already, with settings under which
// the promises made here do not hold. It is not changed: its messages may have
// been lost, or be someone else's.
type IncompatibleError struct {
	Stream      string
	Differences []string // "discard is old, want new"
	log         jetstream.Stream
}

func (e *IncompatibleError) closed(app string, p uint32) bool {
	return len(e.Differences) == 1 && WALClosed(e.log.CachedInfo().Config, app, p)
}

func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("JetStream stream %s exists with other settings: %q; delete it or rename the app", e.Stream, e.Differences)
}

// AppStreams names the streams of an app: its logs and results, by partition, and the
// events that it refused.
func AppStreams(app string, partitions uint32) []string {
	names := []string{DLQStream(app)}
	for p := range partitions {
		names = append(names, WALStream(app, p), OutStream(app, p))
	}
	return names
}

// EnsureApp creates those of an app's streams that are missing, and returns their names,
// also of those it had come to before an error. BytesMax is the limit of each log. A log
// that it creates takes only a deploy frame until OpenWAL has opened it. Limits that an
// operator has given a stream of results or of refused events stay. patterns are further
// subjects of results, as subject.Template.PatternOf returns them for a partition; subjects
// that a stream of results has already stay, as its results are still on them.
func EnsureApp(ctx context.Context, js jetstream.JetStream, app string, partitions uint32, l StreamLimits, patterns ...func(partition uint32) string) (made []string, err error) {
	copies := StreamLimits{Replicas: l.Replicas}
	wanted := []jetstream.StreamConfig{dlqConfig(app, copies)}
	for p := range partitions {
		cfg := outConfig(app, p, copies)
		for _, pattern := range patterns {
			addSubject(&cfg, pattern(p))
		}
		wanted = append(wanted, cfg)
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(ensuredAtOnce)
	makeOne := func(want jetstream.StreamConfig, limited bool) error {
		_, created, err := ensure(ctx, js, app, want, limited)
		if created {
			mu.Lock()
			made = append(made, want.Name)
			mu.Unlock()
		}
		return err
	}
	for _, want := range wanted {
		group.Go(func() error { return makeOne(want, false) })
	}
	for p := range partitions {
		group.Go(func() error {
			want := walConfig(app, p, l)
			if _, err := findOpenWAL(ctx, js, app, p); errors.Is(err, ErrNoStream) {
				want = ClosedWALConfig(want)
			}
			return makeOne(want, true)
		})
	}
	err = group.Wait()
	slices.Sort(made)
	return made, err
}

// EnsureWAL returns the stream of a partition's log, and creates it if missing.
// A full one refuses messages; it never drops one.
func EnsureWAL(ctx context.Context, js jetstream.JetStream, app string, p uint32, l StreamLimits) (jetstream.Stream, error) {
	if l.AgeMax != 0 {
		return nil, fmt.Errorf("log of %s: an age limit of %s would drop events that no checkpoint holds", app, l.AgeMax)
	}
	stream, _, err := ensure(ctx, js, app, walConfig(app, p, l), true)
	return stream, err
}

// FindWAL returns the stream of a partition's log, or an ErrNoStream, also for a log
// that has no deploy frame yet. A log that is closed while its app is scaled can be read.
func FindWAL(ctx context.Context, js jetstream.JetStream, app string, p uint32) (jetstream.Stream, error) {
	stream, err := findOpenWAL(ctx, js, app, p)
	var closed *closedError
	if errors.As(err, &closed) && closed.log.CachedInfo().State.LastSeq > 0 {
		return closed.log, nil
	}
	return stream, err
}

// findOpenWAL is FindWAL without closed logs.
func findOpenWAL(ctx context.Context, js jetstream.JetStream, app string, p uint32) (jetstream.Stream, error) {
	stream, err := find(ctx, js, app, walConfig(app, p, StreamLimits{}))
	var other *IncompatibleError
	if errors.As(err, &other) && other.closed(app, p) {
		return nil, &closedError{WALStream(app, p), other.log}
	}
	return stream, err
}

// OpenWAL makes a log accept all frames, after its deploy frame. scalings is how often the app
// was scaled.
func OpenWAL(ctx context.Context, js jetstream.JetStream, app string, p, scalings uint32) error {
	if err := setSubject(ctx, js, app, p, RoutedSubject(app, p, scalings)); err != nil {
		return fmt.Errorf("JetStream stream %s: open: %w", WALStream(app, p), err)
	}
	return nil
}

// CloseWAL makes a log refuse everything that does not come from the checkpointers.
func CloseWAL(ctx context.Context, js jetstream.JetStream, app string, p uint32) error {
	if err := setSubject(ctx, js, app, p, DeploySubject(app, p)); err != nil {
		return fmt.Errorf("JetStream stream %s: close: %w", WALStream(app, p), err)
	}
	return nil
}

func setSubject(ctx context.Context, js jetstream.JetStream, app string, p uint32, subject string) error {
	stream, err := js.Stream(ctx, WALStream(app, p))
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	if slices.Equal(cfg.Subjects, []string{subject}) {
		return nil
	}
	cfg.Subjects = []string{subject}
	_, err = js.UpdateStream(ctx, cfg)
	return err
}

// WALClosed reports whether the log of a partition takes only a deploy frame.
func WALClosed(have jetstream.StreamConfig, app string, p uint32) bool {
	return slices.Equal(have.Subjects, []string{DeploySubject(app, p)})
}

// ClosedWALConfig returns the settings of a log until its deploy frame is written: open, with
// only the subject for DeploySubject.
func ClosedWALConfig(open jetstream.StreamConfig) jetstream.StreamConfig {
	open.Subjects = []string{"ef.deploy." + strings.TrimPrefix(open.Subjects[0], "ef.wal.")}
	return open
}

func walConfig(app string, p uint32, l StreamLimits) jetstream.StreamConfig {
	cfg := l.config(WALStream(app, p), WALSubject(app, p))
	cfg.DenyDelete = true
	// Reads go to the leader: after a takeover a replica may not have the end yet.
	cfg.AllowDirect = false
	return cfg
}

// WALDifferences lists the settings of a log under which its promises do not hold.
func WALDifferences(have jetstream.StreamConfig, app string, p uint32) []string {
	return differences(have, walConfig(app, p, StreamLimits{}))
}

// EnsureOut returns the stream of a partition's results, and creates it if
// missing. A full one (BytesMax) stops the task until there is space; results
// are never dropped for want of it. AgeMax does drop them, and must be longer
// than a task can be down: a restored task goes on after the newest result.
func EnsureOut(ctx context.Context, js jetstream.JetStream, app string, p uint32, l StreamLimits) (jetstream.Stream, error) {
	stream, _, err := ensure(ctx, js, app, outConfig(app, p, l), true)
	return stream, err
}

// FindOut returns the stream of a partition's results, or an ErrNoStream.
func FindOut(ctx context.Context, js jetstream.JetStream, app string, p uint32) (jetstream.Stream, error) {
	return find(ctx, js, app, outConfig(app, p, StreamLimits{}))
}

func outConfig(app string, p uint32, l StreamLimits) jetstream.StreamConfig {
	cfg := l.config(OutStream(app, p), OutSubjects(app, p), FenceSubject(app, p))
	cfg.AllowAtomicPublish = true
	cfg.AllowDirect = true // for subscribers who look up single results
	return cfg
}

// moreKey is the entry of a stream's metadata that lists the subjects which an app has chosen
// for its results (@sink(subject='…')).
const moreKey = "ef.subjects"

// moreSubjects lists the subjects of a stream of results that the app has chosen.
func moreSubjects(cfg jetstream.StreamConfig) []string { return strings.Fields(cfg.Metadata[moreKey]) }

// addSubject adds a pattern that the app has chosen, in place of narrower ones; false if the
// stream has all of its subjects.
func addSubject(cfg *jetstream.StreamConfig, pattern string) bool {
	more := moreSubjects(*cfg)
	if slices.ContainsFunc(more, func(s string) bool { return subject.Covers(s, pattern) }) {
		return false
	}
	narrower := func(s string) bool { return slices.Contains(more, s) && subject.Covers(pattern, s) }
	cfg.Subjects = append(slices.DeleteFunc(slices.Clone(cfg.Subjects), narrower), pattern)
	more = append(slices.DeleteFunc(slices.Clone(more), narrower), pattern)
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[moreKey] = strings.Join(more, " ")
	return true
}

// plainSubjects lists the other subjects of a stream, sorted.
func plainSubjects(cfg jetstream.StreamConfig) []string {
	more := moreSubjects(cfg)
	list := slices.DeleteFunc(slices.Clone(cfg.Subjects), func(s string) bool { return slices.Contains(more, s) })
	for i := range list {
		list[i] = unrouted(list[i])
	}
	slices.Sort(list)
	return list
}

// OutDifferences is WALDifferences for the results of a partition.
func OutDifferences(have jetstream.StreamConfig, app string, p uint32) []string {
	return differences(have, outConfig(app, p, StreamLimits{}))
}

// EnsureDLQ returns the stream of an app's refused events, and creates it if
// missing. It forgets the oldest beyond 7 days or 64 MiB unless told otherwise:
// refused events must not stop the good ones.
func EnsureDLQ(ctx context.Context, js jetstream.JetStream, app string, l StreamLimits) (jetstream.Stream, error) {
	stream, _, err := ensure(ctx, js, app, dlqConfig(app, l), true)
	return stream, err
}

// FindDLQ returns the stream of an app's refused events, or an ErrNoStream.
func FindDLQ(ctx context.Context, js jetstream.JetStream, app string) (jetstream.Stream, error) {
	return find(ctx, js, app, dlqConfig(app, StreamLimits{}))
}

func dlqConfig(app string, l StreamLimits) jetstream.StreamConfig {
	if l.AgeMax == 0 {
		l.AgeMax = dlqAgeMax
	}
	if l.BytesMax == 0 {
		l.BytesMax = dlqBytesMax
	}
	cfg := l.config(DLQStream(app), DLQSubjects(app))
	cfg.Discard = jetstream.DiscardOld
	cfg.AllowDirect = true
	return cfg
}

// DLQDifferences is WALDifferences for the events that an app refused.
func DLQDifferences(have jetstream.StreamConfig, app string) []string {
	return differences(have, dlqConfig(app, StreamLimits{}))
}

func (l StreamLimits) config(name string, subjects ...string) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:       name,
		Subjects:   subjects,
		Storage:    jetstream.FileStorage,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew,
		Replicas:   max(l.Replicas, 1),
		MaxMsgs:    -1,
		MaxBytes:   -1,
		MaxAge:     l.AgeMax,
		Duplicates: duplicatesMin,
	}
	if l.BytesMax > 0 {
		cfg.MaxBytes = l.BytesMax
	}
	return cfg
}

// find returns a stream whose settings are right, except for its limits.
func find(ctx context.Context, js jetstream.JetStream, app string, want jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := subject.CheckName(app); err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoStream
	}
	if err != nil {
		return nil, fmt.Errorf("JetStream stream %s: %w", want.Name, err)
	}
	if diff := differences(stream.CachedInfo().Config, want); len(diff) > 0 {
		return nil, &IncompatibleError{Stream: want.Name, Differences: diff, log: stream}
	}
	return stream, nil
}

// ensure returns a stream that is as it should be, and whether it was missing. limited says
// that the limits of one that exists are to be as wanted, too.
func ensure(ctx context.Context, js jetstream.JetStream, app string, want jetstream.StreamConfig, limited bool) (stream jetstream.Stream, created bool, err error) {
	stream, err = find(ctx, js, app, want)
	if errors.Is(err, ErrNoStream) {
		stream, created, err = create(ctx, js, app, want)
	}
	if err != nil {
		return nil, created, err
	}
	have := stream.CachedInfo().Config
	if !limited {
		want.MaxBytes, want.MaxAge = have.MaxBytes, have.MaxAge
	}
	added := false
	for _, s := range moreSubjects(want) {
		added = addSubject(&have, s) || added
	}
	if !added && have.MaxBytes == want.MaxBytes && have.MaxAge == want.MaxAge && have.Replicas == want.Replicas {
		return stream, created, nil
	}
	have.MaxBytes, have.MaxAge, have.Replicas = want.MaxBytes, want.MaxAge, want.Replicas
	stream, err = js.UpdateStream(ctx, have)
	if err != nil {
		return nil, created, fmt.Errorf("JetStream stream %s: set limits and subjects: %w", want.Name, err)
	}
	return stream, created, nil
}

func create(ctx context.Context, js jetstream.JetStream, app string, want jetstream.StreamConfig) (stream jetstream.Stream, created bool, err error) {
	for attempt := 1; ; attempt++ {
		stream, err := js.CreateStream(ctx, want)
		switch {
		case err == nil:
			stream, err = complete(ctx, js, stream)
			return stream, true, err
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
			stream, err = find(ctx, js, app, want) // another process was faster; compare with its
			return stream, false, err
		case hasCode(err, errCodeNoRoom):
			return nil, false, fmt.Errorf("JetStream stream %s: create: %w: there is no room for the %d bytes that it may hold; make room on the server's disk, or raise its max_file_store", want.Name, err, want.MaxBytes)
		case !hasCode(err, errCodeCreate) || attempt == createAttempts:
			return nil, false, fmt.Errorf("JetStream stream %s: create: %w", want.Name, err)
		}
		select {
		case <-time.After(createRetryWait):
		case <-ctx.Done():
			return nil, false, errors.Join(ctx.Err(), err)
		}
	}
}

// complete has the server write a new stream's settings once more. Killed between
// their file and its checksum, a server leaves out the stream at every start: then
// create takes over the messages that are there, and leaves the files as they are.
func complete(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) (jetstream.Stream, error) {
	name := stream.CachedInfo().Config.Name
	stream, err := js.UpdateStream(ctx, stream.CachedInfo().Config)
	if err != nil {
		return nil, fmt.Errorf("JetStream stream %s: complete: %w", name, err)
	}
	return stream, nil
}

// differences lists the settings whose change would break a promise.
func differences(have, want jetstream.StreamConfig) []string {
	have.Subjects, want.Subjects = plainSubjects(have), plainSubjects(want)
	var diff []string
	compare := func(setting string, have, want any) {
		if h, w := fmt.Sprint(have), fmt.Sprint(want); h != w {
			diff = append(diff, fmt.Sprintf("%s is %s, want %s", setting, h, w))
		}
	}
	compare("subjects", have.Subjects, want.Subjects)
	compare("storage", have.Storage, want.Storage)
	compare("retention", have.Retention, want.Retention)
	compare("discard", have.Discard, want.Discard)
	compare("max_msgs", have.MaxMsgs, want.MaxMsgs)
	compare("max_msgs_per_subject", max(have.MaxMsgsPerSubject, 0), max(want.MaxMsgsPerSubject, 0))
	compare("deny_delete", have.DenyDelete, want.DenyDelete)
	compare("deny_purge", have.DenyPurge, want.DenyPurge)
	compare("compression", have.Compression, want.Compression)
	compare("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish)
	compare("no_ack", have.NoAck, want.NoAck)
	compare("sealed", have.Sealed, want.Sealed)
	compare("persist_mode", have.PersistMode, want.PersistMode)
	compare("mirror", have.Mirror != nil, false)
	compare("sources", len(have.Sources), 0)
	compare("subject_transform", have.SubjectTransform != nil, false)
	if want.DenyDelete { // a log must not forget by age, not even after an update by hand
		compare("max_age", have.MaxAge, want.MaxAge)
	}
	return diff
}

// ServerLimits lists the limits of a stream of results that only an operator can have set,
// such as "max_age is 1h0m0s". The services set none.
func ServerLimits(have jetstream.StreamConfig) (set []string) {
	if have.MaxAge > 0 {
		set = append(set, fmt.Sprintf("max_age is %s", have.MaxAge))
	}
	if have.MaxBytes > 0 {
		set = append(set, fmt.Sprintf("max_bytes is %d", have.MaxBytes))
	}
	return append(set, clientLimits(have)...)
}

// clientLimits lists the limits that concern single messages and readers. The services set
// none in any stream.
func clientLimits(have jetstream.StreamConfig) (set []string) {
	if have.MaxMsgSize > 0 {
		set = append(set, fmt.Sprintf("max_msg_size is %d", have.MaxMsgSize))
	}
	if have.MaxConsumers > 0 {
		set = append(set, fmt.Sprintf("max_consumers is %d", have.MaxConsumers))
	}
	return set
}

// LogLimits is ServerLimits for a log. wal.bytes_max is a limit that the services set.
func LogLimits(have jetstream.StreamConfig) []string { return clientLimits(have) }

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api jetstream.JetStreamError
	return errors.As(err, &api) && api.APIError() != nil && api.APIError().ErrorCode == code
}
