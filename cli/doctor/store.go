package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/space"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

const freeWarning, freeError = 0.15, 0.05

// checkStore examines the store of checkpoints from here, if its address is known.
func (p *examination) checkStore(ctx context.Context, r *report) {
	number, url := p.checkSwitched(r)
	if number == 0 && p.Settings.Store.URL == "" && p.isDefault("data") {
		r.add(Unknown, "store.url", "name the store as the services do, with --store.url, or their folder with --data", "the store was not looked at from here; that the newest checkpoints can be read, the checkpointer says")
		return
	}
	if own := p.Settings.StoreURL(); number == 0 || control.PublicURL(own) == url {
		url = own
	}
	if dir, ok := strings.CutPrefix(url, "file:"); ok {
		checkFolder(r, strings.TrimPrefix(dir, "//"))
		return
	}
	kind, _, _ := strings.Cut(url, ":") // not the rest: it may hold a password
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	warnings := &warnings{}
	s, err := stores.Open(limited, url, slog.New(warnings))
	if err != nil {
		r.add(Error, kind, "start it, or correct store.url", "the store does not answer: %v. Checkpoints are aborted, and no task can start", err)
		return
	}
	defer func() { _ = s.Close() }() // nothing was written
	fix := "set it in the configuration of Redis, and by CONFIG SET at once"
	bucket, isBucket := store.As[*cloud.Store](s)
	if isBucket {
		fix = "see docs/stores.md"
	}
	for _, text := range warnings.texts {
		r.add(Warning, kind, fix, "%s", text)
	}
	if isBucket {
		checkRules(limited, r, kind, bucket)
	}
	for _, a := range p.apps {
		head, err := s.Head(limited, a.Name)
		switch {
		case err != nil:
			r.add(Error, kind, "see that it is up and its disk is sound", "the newest checkpoint of %s cannot be asked for: %v", a.Name, err)
		case head.Epoch < uint64(a.Checkpoint):
			r.add(Error, kind, "restore the store from a copy, or see 'the store is lost' in docs/operations.md", "it has checkpoint %d of %s for the newest, and the checkpointer knows of %d: it lost what was committed", head.Epoch, a.Name, a.Checkpoint)
		}
	}
	r.fine(kind, "the store answers, and has the newest checkpoints")
}

// checkSwitched reports processes that use a former store, or whose setting names one. It returns
// the number and the URL of the last switch; 0 if the cluster was never switched.
func (p *examination) checkSwitched(r *report) (number uint64, url string) {
	for _, s := range p.stores {
		if s.Number > number {
			number, url = s.Number, s.URL
		}
	}
	for _, s := range p.stores {
		switch {
		case number == 0:
		case s.Number < number:
			r.add(Error, s.Name(), "look at its log for why it does not follow, and restart it", "it uses %s, and the cluster was switched to %s: its checkpoints are aborted", s.URL, url)
		case s.Setting != url:
			r.add(Warning, s.Name(), "change its setting store.url to "+url, "its store.url names %s, and the cluster was switched to %s. It uses that one, but it would use its setting if all checkpointers were lost", s.Setting, url)
		}
	}
	return number, url
}

// checkRules reports what the rules of a bucket do to checkpoints.
func checkRules(ctx context.Context, r *report, kind string, bucket *cloud.Store) {
	harmful, err := bucket.Inspect(ctx)
	if err != nil {
		r.add(Unknown, kind, "allow s3:GetLifecycleConfiguration on the bucket, or see that no rule deletes or archives objects below the prefix", "the lifecycle rules of the bucket cannot be read: %v", err)
	}
	for _, text := range harmful {
		r.add(Error, kind, "remove the rule, or limit it to another prefix", "%s", text)
	}
}

// warnings keeps the warnings of a store as it opens.
type warnings struct {
	slog.Handler
	texts []string
}

// Enabled implements slog.Handler.
func (*warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" (%s %s)", a.Key, a.Value)
		return true
	})
	w.texts = append(w.texts, text)
	return nil
}

// WithAttrs implements slog.Handler.
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup implements slog.Handler.
func (w *warnings) WithGroup(string) slog.Handler { return w }

// checkFolder examines a store of files without opening it: opening would clean up after
// writers that it believes dead.
func checkFolder(r *report, dir string) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		r.add(Error, dir, "mount the folder, or correct store.url", "the folder of the store is not here: %v", err)
		return
	}
	d, err := space.Of(dir)
	if err != nil {
		r.add(Unknown, dir, "", "its disk was not looked at: %v", err)
		return
	}
	if d.Volatile {
		r.add(Error, dir, "choose a folder on a disk with store.url", "it is in memory: a restart of the machine loses all checkpoints, and the logs below them are trimmed")
	}
	free, severity := float64(d.Free)/float64(max(d.Total, 1)), Warning
	if free < freeError {
		severity = Error
	}
	if free < freeWarning {
		r.add(severity, dir, "make room, or keep less: retention.checkpoints and retention.span", "%.0f %% of its disk are free: when it is full, checkpoints are aborted", 100*free)
	}
	r.fine(dir, "its disk has %.0f %% free", 100*free)
}
