package merger

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Chains measures what a merge of an app's newest checkpoint would do.
func (s *Service) Chains(ctx context.Context, name string) (*control.ChainReport, error) {
	live, err := s.live(ctx, control.LiveRequest{})
	if err != nil {
		return nil, err
	}
	for i := range live.Apps {
		if app := &live.Apps[i]; app.App == name {
			return s.chainsOf(ctx, app)
		}
	}
	return nil, &control.Error{Code: control.CodeNotFound, Text: fmt.Sprintf("no app is called %q; eventflux app ls lists them", name)}
}

func (s *Service) chainsOf(ctx context.Context, app *control.LiveApp) (*control.ChainReport, error) {
	if len(app.Checkpoints) == 0 {
		return nil, &control.Error{
			Code: control.CodeNotFound,
			Text: fmt.Sprintf("app %s has no checkpoint yet; eventflux checkpoint trigger %[1]s makes one", app.App),
		}
	}
	ref := app.Checkpoints[0]
	m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, ref.Manifest, ref.Digest)
	if err != nil {
		return nil, err
	}
	merged, err := s.lastMerged(ctx, app)
	if err != nil {
		return nil, err
	}
	report := &control.ChainReport{App: app.App, Epoch: ref.Epoch, Chains: []control.ChainInfo{}}
	for p := range m.Partitions {
		for c := range m.Partitions[p].Components {
			info, err := s.chain(ctx, m, merged, p, c)
			if err != nil {
				return nil, fmt.Errorf("partition %d, component %s: %w", p, m.Partitions[p].Components[c].ID, err)
			}
			report.Chains = append(report.Chains, *info)
		}
	}
	return report, nil
}

func (s *Service) chain(ctx context.Context, m, merged *checkpoint.Manifest, p, index int) (*control.ChainInfo, error) {
	c := m.Partitions[p].Components[index]
	info := &control.ChainInfo{Partition: uint32(p), Component: c.ID, Deltas: max(len(c.Runs)-1, 0)}
	info.BaseBytes, info.DeltaBytes = sizes(c.Runs)
	info.Due = s.limits().due(currentChain(m, merged, p, index))
	o := &outcome{before: map[string]int64{}, after: map[string]int64{}}
	if len(c.Runs) < 2 {
		for i := range c.Runs {
			if err := addSizes(ctx, s.cfg.Store, &c.Runs[i], o.before); err != nil {
				return nil, err
			}
		}
		info.Stored = sum(o.before)
		info.MergedBytes, info.MergedStored = info.BaseBytes, info.Stored
		return info, nil
	}
	dry := &dryStore{Store: s.cfg.Store, put: map[string][]byte{}}
	runs, err := s.foldChain(ctx, dry, &c, c.Runs, o)
	if err != nil {
		return nil, err
	}
	o.written = dry.written
	info.MergedBytes, _ = sizes(runs)
	info.Stored, info.MergedStored, info.Written, info.Saved = sum(o.before), sum(o.after), o.written, o.saved()
	return info, nil
}

func sum(sizes map[string]int64) (n int64) {
	for _, size := range sizes {
		n += size
	}
	return n
}

// dryStore counts the objects that are put and stores none of them. It keeps runs, which
// are small, so that they can be read back.
type dryStore struct {
	store.Store
	mu      sync.Mutex
	put     map[string][]byte
	written int64
}

// Put implements store.Store.
func (d *dryStore) Put(_ context.Context, name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, again := d.put[name]; again {
		return nil
	}
	d.written += int64(len(data))
	d.put[name] = nil
	if strings.HasPrefix(name, "runs/") {
		d.put[name] = data
	}
	return nil
}

// Get implements store.Store.
func (d *dryStore) Get(ctx context.Context, name string) ([]byte, error) {
	d.mu.Lock()
	data := d.put[name]
	d.mu.Unlock()
	if data != nil {
		return data, nil
	}
	return d.Store.Get(ctx, name)
}

// Delete implements store.Store.
func (d *dryStore) Delete(context.Context, string, time.Time) error { return nil }
