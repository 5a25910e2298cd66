package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	linkWaitMin    = 100 * time.Millisecond // between two attempts to read
	linkWaitMax    = 5 * time.Second
	linkAskTimeout = 5 * time.Second
)

// link turns messages of JetStream streams into events of a source: the results of another
// app, from the streams of that app's partitions, or the messages of a stream that EventFlux
// does not write (origin.go). The streams may not exist yet.
type link struct {
	s       *Service
	source  *source
	results results       // of another app
	started time.Time     // when the source first started to read; known once there is a lease
	loaded  chan struct{} // of a table: closed once a load is durable in every log
	loads   sync.Once

	mu        sync.Mutex
	followers []*follower
	bucket    *bucket // nil if the source is no table
	trouble   string  // why no partition was found, or not all of them
}

// results names what a link reads, as out.<app>.<stream>.<partition> does.
type results struct {
	app, stream string
	all         bool // partitions
	partition   uint32
}

// parseResults parses the subject of a link.
func parseResults(subject string) (results, error) {
	bad := func() (results, error) {
		return results{}, fmt.Errorf("%q: expected out.<app>.<Stream>.<p> for the results of partition p, or out.<app>.<Stream>.* for those of all", subject)
	}
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 || tokens[1] == "*" || tokens[2] == "*" {
		return bad()
	}
	r := results{app: tokens[1], stream: tokens[2], all: tokens[3] == "*"}
	if !r.all {
		p, err := strconv.ParseUint(tokens[3], 10, 32)
		if r.partition = uint32(p); err != nil || natsconn.OutSubject(r.app, r.stream, r.partition) != subject {
			return bad()
		}
	}
	return r, nil
}

// newLinks returns the links of the sources that read from JetStream.
func newLinks(s *Service, sources []*source) ([]*link, error) {
	var links []*link
	for _, src := range sources {
		if !src.linked() {
			continue
		}
		if src.stream.Origin != nil || src.stream.ReadsBucket() != nil {
			links = append(links, &link{s: s, source: src, loaded: make(chan struct{})})
			continue
		}
		r, err := parseResults(src.stream.Subject)
		if err != nil {
			return nil, err
		}
		links = append(links, &link{s: s, source: src, results: r})
	}
	return links, nil
}

// linked reports whether the source reads from JetStream.
func (s *source) linked() bool { return s.stream.Linked() || s.stream.ReadsBucket() != nil }

// isLoaded notes that all logs have a load of the link's bucket.
func (l *link) isLoaded() { l.loads.Do(func() { close(l.loaded) }) }

// subject is the name of the source in its record and its message ids.
func (l *link) subject() string {
	if o := l.source.stream.Origin; o != nil {
		return siddhiql.OriginSubject(o.JetStream)
	}
	if b := l.source.stream.ReadsBucket(); b != nil {
		return siddhiql.BucketSubject(b.Name)
	}
	return l.source.stream.Subject
}

// run reads until ctx ends, while no other process reads for the source.
func (l *link) run(ctx context.Context) {
	for wait := linkWaitMin; ; wait = min(2*wait, linkWaitMax) {
		lease, err := l.acquire(ctx)
		if err == nil {
			wait = linkWaitMin
			err = l.readLeased(ctx, lease)
		}
		if ctx.Err() != nil {
			return
		}
		l.report(nil, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// readLeased reads until ctx ends or the lease is lost.
func (l *link) readLeased(ctx context.Context, lease *lease) error {
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	var group sync.WaitGroup
	group.Go(func() {
		if err := lease.keep(ctx); err != nil {
			lose(fmt.Errorf("keep the lease: %w", err))
		}
	})
	l.start(ctx, lease, &group)
	group.Wait()
	lease.release()
	return context.Cause(ctx)
}

// start starts a follower for each partition. It looks for partitions from time to time,
// because the other app may be deployed later, or with more partitions.
func (l *link) start(ctx context.Context, lease *lease, group *sync.WaitGroup) {
	if l.source.stream.ReadsBucket() != nil {
		l.report(nil, nil)
		from := lease.record.Positions[0]
		group.Go(func() { l.bucketOf().run(ctx, from) })
		return
	}
	started := map[uint32]bool{}
	for wait := linkWaitMin; ; wait = min(2*wait, linkWaitMax) {
		partitions, err := l.partitions(ctx)
		if ctx.Err() != nil {
			return
		}
		l.report(partitions, err)
		for _, p := range partitions {
			if !started[p] {
				started[p] = true
				f := l.follow(p, lease)
				group.Go(func() { f.run(ctx) })
			}
		}
		if !l.results.all {
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// partitions returns the partitions of the other app that exist now.
func (l *link) partitions(ctx context.Context) ([]uint32, error) {
	if !l.results.all {
		return []uint32{l.results.partition}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	var found []uint32
	names := l.s.js.StreamNames(ctx, jetstream.WithStreamListSubject(l.source.stream.Subject))
	for name := range names.Name() {
		p, err := strconv.ParseUint(name[strings.LastIndexByte(name, '_')+1:], 10, 32)
		if err == nil && name == natsconn.OutStream(l.results.app, uint32(p)) {
			found = append(found, uint32(p))
		}
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return found, fmt.Errorf("list JetStream streams with %s: %w", l.source.stream.Subject, err)
	}
	slices.Sort(found)
	return found, nil
}

// follow returns the follower of a partition. It continues at the position in the lease.
func (l *link) follow(p uint32, lease *lease) *follower {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.followers, func(f *follower) bool { return f.partition == p })
	if i < 0 {
		i = len(l.followers)
		l.followers = append(l.followers, newFollower(l, p))
	}
	f := l.followers[i]
	f.start(lease.record.Positions[p])
	return f
}

// report records that no partition was found, or an error, and logs a change.
func (l *link) report(found []uint32, err error) {
	var trouble string
	switch {
	case err != nil:
		trouble = err.Error()
	case len(found) == 0 && l.results.app != "":
		trouble = fmt.Sprintf("no JetStream stream has %s; deploy app %s", l.source.stream.Subject, l.results.app)
	}
	l.mu.Lock()
	news := trouble != l.trouble
	l.trouble = trouble
	l.mu.Unlock()
	if news && trouble != "" {
		l.log(l.waits(), "reason", trouble)
	}
}

// waits returns what the source waits for, for the process log.
func (l *link) waits() string {
	if l.source.stream.Origin != nil {
		return "waiting for a JetStream stream"
	}
	if l.source.stream.ReadsBucket() != nil {
		return "waiting for a KV bucket"
	}
	return "waiting for the results of another app"
}

func (l *link) log(text string, args ...any) {
	l.s.cfg.Log.Info(text, append([]any{"app", l.source.app.Name, "stream", l.source.stream.Name, "from", l.source.stream.ReadsFrom()}, args...)...)
}
