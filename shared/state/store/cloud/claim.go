package cloud

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/store"
)

const claimKey = ownFolder + "cluster.json"

// claim is the content of the object that names the cluster that owns a bucket.
type claim struct {
	Cluster string `json:"cluster"`
}

var _ store.Claimer = (*Store)(nil)

// Claim implements store.Claimer. With takeover= in the URL it replaces the claim of that
// cluster.
func (s *Store) Claim(ctx context.Context, cluster string) error {
	data, err := json.Marshal(claim{cluster})
	if err != nil {
		return err
	}
	_, err = s.write(ctx, claimKey, tagged(data, newTag()), Condition{Absent: true})
	if kindOf(err) != Unmet {
		return err
	}
	content, at, err := s.read(ctx, claimKey)
	if err != nil {
		return err
	}
	there, _ := untagged(content)
	var of claim
	if err := json.Unmarshal(there, &of); err != nil || of.Cluster == "" {
		return fmt.Errorf("%s: %s does not name the cluster that the store belongs to; delete it if no other cluster uses the store", s.bucket.Name(), claimKey)
	}
	if of.Cluster != cluster && of.Cluster == s.opt.Takeover {
		if _, err = s.write(ctx, claimKey, tagged(data, newTag()), Condition{Version: at.Version}); err == nil {
			s.log.Warn("the store of another cluster was taken over; remove takeover= from store.url", "former", of.Cluster, "cluster", cluster)
			return nil
		}
		return fmt.Errorf("take over the store: %w", err)
	}
	if of.Cluster != cluster {
		return fmt.Errorf("%w: %s belongs to %s since %s, and this is %s; choose another bucket or prefix, or, if that cluster is gone for good and this one continues from its checkpoints, add takeover=%[3]s to store.url",
			store.ErrForeign, s.bucket.Name(), of.Cluster, at.Written.UTC().Format("2006-01-02 15:04:05 UTC"), cluster)
	}
	return nil
}
