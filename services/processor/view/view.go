package view

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	waitMin       = 100 * time.Millisecond // between two readings
	waitMax       = 5 * time.Second
	askTimeout    = 5 * time.Second
	beatDefault   = time.Second
	repairDefault = time.Minute
)

// Config says which view is kept.
type Config struct {
	Conn       *nats.Conn
	JS         jetstream.JetStream // with a timeout of asynchronous publishes
	App        string
	Version    uint64 // of the app, in force
	Partition  uint32
	Partitions int
	Stream     *siddhiql.Stream // with Sink.View
	Log        *slog.Logger
	// Denied returns the subject that the server last refused to publish to, and forgets it; nil:
	// not known.
	Denied func() string
	Beat   time.Duration // how often the bucket is looked at, and the record written; 0: beatDefault
	// Repair is how often, at most, the bucket is filled again because somebody else writes it;
	// 0: repairDefault.
	Repair time.Duration
}

// View keeps the view of one partition.
type View struct {
	cfg     Config
	of      *siddhiql.View
	js      jetstream.JetStream
	rows    *rowReader
	results string // the output stream
	bucket  string // the JetStream stream of the bucket
	digest  string // of the definition
	filled  time.Time
	took    time.Duration // the last fill
	dirty   bool          // somebody else has written since the last fill
	others  uint64        // the newest revision of somebody else that was noticed

	mu   sync.Mutex
	info Info
}

// States of a view.
const (
	Filling   = "filling"   // it reads the rows that the output stream has
	Following = "following" // it has them
	Waiting   = "waiting"   // it cannot go on
)

// Info says how far a view is.
type Info struct {
	Stream string `json:"stream"`
	Bucket string `json:"bucket"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it waits, or what does not work
	// Since the start of the task:
	Written   uint64 `json:"written"`           // values and deletes
	Unkeyed   uint64 `json:"unkeyed,omitempty"` // rows of earlier versions whose key cannot be read
	Foreign   uint64 `json:"foreign,omitempty"` // writes of others that were noticed
	ForeignAt string `json:"foreign_at,omitempty"`
	Recreated uint64 `json:"recreated,omitempty"` // times that the bucket was another one
	Trimmed   uint64 `json:"trimmed,omitempty"`   // times that results were trimmed before they were read
	Lag       uint64 `json:"lag"`                 // results that are not in the bucket yet
}

// PublishTimeout is how long a value may take to be acknowledged.
const PublishTimeout = askTimeout

// New returns a view. Nothing is asked before Run.
func New(cfg Config) *View {
	if cfg.Beat == 0 {
		cfg.Beat = beatDefault
	}
	if cfg.Repair == 0 {
		cfg.Repair = repairDefault
	}
	of := cfg.Stream.Sink.View
	v := &View{
		cfg: cfg, of: of, js: cfg.JS, rows: newRowReader(cfg.Stream, cfg.Partition),
		results: natsconn.OutStream(cfg.App, cfg.Partition), bucket: "KV_" + of.Bucket,
		info: Info{Stream: cfg.Stream.Name, Bucket: of.Bucket, State: Waiting, Reason: "starting"},
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%t", of.Key.Text, of.Delete) // never fails
	v.digest = fmt.Sprintf("%016x", h.Sum64())
	return v
}

// Info returns how far the view is.
func (v *View) Info() Info {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.info
}

func (v *View) note(change func(*Info)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.info)
}

// Run keeps the view until ctx ends. After an error it tries again.
func (v *View) Run(ctx context.Context) {
	for wait := waitMin; ; wait = min(2*wait, waitMax) {
		before := v.Info().Written
		err := v.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errFill) {
			continue
		}
		v.report(Waiting, v.explained(err))
		if v.Info().Written != before {
			wait = waitMin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// report records the state, and why the view does not go on. It logs a change.
func (v *View) report(state string, err error) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	var news bool
	v.note(func(i *Info) {
		news = i.State != state || i.Reason != reason
		i.State, i.Reason = state, reason
	})
	switch {
	case !news:
	case err != nil:
		v.log(slog.LevelWarn, "a view does not follow its results; the task goes on, and the view tries again", "reason", reason)
	case state == Filling:
		v.log(slog.LevelInfo, "a view is filled from the results")
	default:
		v.log(slog.LevelInfo, "a view follows its results")
	}
}

func (v *View) log(level slog.Level, text string, args ...any) {
	v.cfg.Log.Log(context.Background(), level, text, append([]any{"stream", v.cfg.Stream.Name, "bucket", v.of.Bucket}, args...)...)
}

// explained adds to an error that a permission is missing, if it is.
func (v *View) explained(err error) error {
	if err == nil || v.cfg.Denied == nil {
		return err
	}
	to := v.cfg.Denied()
	if !strings.HasPrefix(to, "$KV."+v.of.Bucket+".") && !strings.HasPrefix(to, "$KV."+natsconn.LinksBucket+".") && !strings.Contains(to, "."+v.bucket) && !strings.Contains(to, "."+v.results) {
		return err
	}
	return fmt.Errorf("NATS refuses that EventFlux publishes to %s; add to the permissions of the processor's user in the NATS configuration: publish: {allow: [%s]}", to, v.permissions())
}

func (v *View) permissions() string {
	all := []string{"$KV." + v.of.Bucket + ".>", "$KV." + natsconn.LinksBucket + ".>"}
	for _, verb := range []string{"STREAM.INFO.", "STREAM.MSG.GET.", "CONSUMER.CREATE.", "CONSUMER.INFO.", "CONSUMER.DELETE.", "CONSUMER.MSG.NEXT."} {
		rest := ""
		if strings.HasPrefix(verb, "CONSUMER") {
			rest = ".>"
		}
		all = append(all, "$JS.API."+verb+v.bucket+rest)
	}
	return `"` + strings.Join(all, `", "`) + `"`
}
