package merging

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/merger"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// Only one of two running mergers works, and the cluster's bucket tells it about commits.
func TestRunningMergers(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Minute, retain: 4})
	mergers := []*merger.Service{r.merger(s), r.merger(s)}
	for _, m := range mergers {
		r.run(m.Run)
	}
	ctx := r.within()
	swaps := func() uint64 { return mergers[0].Status().Swaps + mergers[1].Status().Swaps }
	for swaps() == 0 {
		if ctx.Err() != nil {
			t.Fatal("nothing was merged")
		}
		r.checkpoint(heard, nil)
	}
	if a, b := mergers[0].Status(), mergers[1].Status(); a.Working == b.Working || a.Swaps > 0 && b.Swaps > 0 || a.Errors+b.Errors > 0 {
		t.Errorf("%+v\n%+v", a, b)
	}
	r.checkpoint(heard, nil)
	r.verify()
	want := r.live().Checkpoints[0]
	js, err := jetstream.New(r.nc)
	must(t, err)
	bucket, err := js.KeyValue(ctx, natsconn.ClusterBucket)
	must(t, err)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		var got control.ProjectedCheckpoint
		e, err := bucket.Get(ctx, control.CheckpointKey(app))
		must(t, err)
		must(t, json.Unmarshal(e.Value(), &got))
		if want = r.live().Checkpoints[0]; got.App == app && got.Index > 0 && got.Digest == want.Digest {
			tick.Stop()
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the bucket has %+v, want %+v", got, want)
		}
	}
	var report control.ChainReport
	must(t, r.client.Ask(ctx, control.MergerService, control.VerbChains, control.AppRequest{App: app}, &report))
	if len(report.Chains) != 2 || report.Chains[0].Component != "table" || report.Chains[0].Stored == 0 {
		t.Errorf("%+v", report)
	}
	err = r.client.Ask(ctx, control.MergerService, control.VerbChains, control.AppRequest{App: "Nobody"}, &report)
	if control.Code(err) != control.CodeNotFound {
		t.Errorf("chains of no app: %v", err)
	}
}

// A merge saves and writes exactly what the report promised.
func TestChainReportIsWhatComesTrue(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Minute, retain: 4})
	for len(r.task.chain) < 5 {
		r.checkpoint(heard, nil)
	}
	r.packDeadMin = 0
	m := r.merger(s)
	report, err := m.Chains(r.within(), app)
	must(t, err)
	promised := report.Chains[0]
	if promised.Due == "" || promised.Deltas != len(r.task.chain)-1 {
		t.Fatalf("%+v", promised)
	}
	must(t, m.Work(r.within()))
	did := m.Status()
	if did.BytesSaved != promised.Saved || did.BytesWritten != uint64(promised.Written) {
		t.Errorf("%d bytes were saved and %d written, the report said %d and %d", did.BytesSaved, did.BytesWritten, promised.Saved, promised.Written)
	}
	again, err := m.Chains(r.within(), app)
	must(t, err)
	if got := again.Chains[0]; got.Deltas != 0 || got.Due != "" || got.Stored != promised.MergedStored || got.BaseBytes != promised.MergedBytes {
		t.Errorf("merged it is %+v, the report said %+v", got, promised)
	}
}

// A swap is refused if the manifests differ in more than chains, if the merge started too long ago,
// or if the checkpoint is gone.
func TestSwapsThatAreRefused(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Minute, retain: 4})
	r.checkpoint(heard, nil)
	r.checkpoint(heard, nil)
	for len(r.task.source.rows) == 0 { // by chance everything was deleted, and there is nothing to fold
		r.checkpoint(heard, nil)
	}
	ref := r.live().Checkpoints[0]
	swap := func(begun time.Time, digest string, edit func(*checkpoint.Manifest)) string {
		t.Helper()
		m, err := checkpoint.ReadManifest(r.within(), s, ref.Manifest, ref.Digest)
		must(t, err)
		edit(m)
		data, err := m.Encode()
		must(t, err)
		_, err = r.client.Swap(r.within(), control.SwapRequest{App: app, Epoch: ref.Epoch, Digest: digest, Begun: begun, Manifest: data})
		return control.Code(err)
	}
	fold := func(m *checkpoint.Manifest) {
		c := &m.Partitions[0].Components[0]
		run, err := checkpoint.MergeRuns(r.within(), s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: ref.Epoch}, c.Runs)
		must(t, err)
		run.Bytes++ // with a single one, make it a different record
		c.Runs = []checkpoint.Run{run}
	}
	for what, test := range map[string]struct {
		begun  time.Time
		digest string
		edit   func(*checkpoint.Manifest)
		want   string
	}{
		"another clock": {time.Now(), ref.Digest, func(m *checkpoint.Manifest) { m.Partitions[0].Clock++ }, control.CodeInvalid},
		"a run that is not there": {time.Now(), ref.Digest, func(m *checkpoint.Manifest) {
			fold(m)
			m.Partitions[0].Components[0].Runs[0].Name = checkpoint.SHA256([]byte("no run"))
		}, control.CodeInvalid},
		"a merge of long ago": {time.Now().Add(-time.Hour), ref.Digest, fold, control.CodeFenced},
		"what is not there":   {time.Now(), "another digest", fold, control.CodeFenced},
	} {
		if got := swap(test.begun, test.digest, test.edit); got != test.want {
			t.Errorf("%s: code %q, want %s", what, got, test.want)
		}
	}
	if got := r.live().Checkpoints[0]; got != ref {
		t.Errorf("checkpoint %+v became %+v", ref, got)
	}
	for range 2 { // a repeat is no error
		if got := swap(time.Now(), ref.Digest, fold); got != "" {
			t.Errorf("a swap: code %s", got)
		}
	}
	if got := r.live(); got.Checkpoints[0].Digest == ref.Digest || len(got.Kept) != 1 || got.Kept[0] != ref {
		t.Errorf("after a swap: %+v", got)
	}
	r.verify()
}

// No one knows what a checkpoint of a later version refers to. So nothing is deleted while it
// exists, and no app may be deployed over it.
func TestCheckpointOfALaterVersion(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Microsecond, retain: 1})
	const says = "format 5, known is 4; read it with the version that wrote it or a newer one"
	manifest, run := checkpoint.ManifestName("Later", 1), "runs/"+strings.Repeat("0f", 32)
	must(t, s.Put(r.within(), run, []byte("a run")))
	must(t, s.Commit(r.within(), store.Commit{App: "Later", Term: 1, Epoch: 1, Name: manifest, Manifest: []byte(`{"format":5,"zones":["a"]}`)}))
	r.checkpoint(heard, nil)
	m := r.merger(s)
	for range 3 {
		if err := m.Work(r.within()); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), manifest) {
			t.Errorf("a sweep beside it: %v", err)
		}
		if _, err := s.Get(r.within(), run); err != nil {
			t.Fatalf("the run that it may refer to: %v", err)
		}
	}
	_, err := r.client.Deploy(r.within(), control.DeployRequest{Text: strings.Replace(appText, "Soak", "Later", 1)})
	if control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), says) {
		t.Errorf("its app was deployed: %v", err)
	}
	must(t, s.Delete(r.within(), manifest, time.Time{}))
	r.eventually("the run is swept, now that nothing may refer to it", func() bool {
		must(t, m.Work(r.within()))
		_, err := s.Get(r.within(), run)
		return errors.Is(err, store.ErrNotFound)
	})
}
