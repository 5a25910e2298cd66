package s3

import (
	"sync"
	"testing"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// A bucket belongs to the first cluster that claims it, until another one says by name whom
// it takes it over from.
func TestBucketBelongsToOneCluster(t *testing.T) {
	server := s3test.Start(t)
	const clusters = 10
	outcomes := make([]error, clusters)
	var group sync.WaitGroup
	for i := range outcomes {
		group.Go(func() { outcomes[i] = openAt(t, server.URL("x")).Claim(within(t), string(rune('A'+i))) })
	}
	group.Wait()
	owner := ""
	for i, err := range outcomes {
		if err == nil {
			owner += string(rune('A' + i))
			continue
		}
		wantErr(t, "the claim of another", err, store.ErrForeign)
	}
	if len(owner) != 1 {
		t.Fatalf("clusters %q have the bucket", owner)
	}
	s := openAt(t, server.URL("x"))
	must(t, s.Claim(within(t), owner))
	must(t, openAt(t, server.URL("y")).Claim(within(t), "NEW"))
	err := s.Claim(within(t), "NEW")
	wantErr(t, "a claim", err, store.ErrForeign)
	wantText(t, "a claim", err, "add takeover="+owner+" to store.url")
	wantErr(t, "a takeover from another", openAt(t, server.URL("x", "takeover=OTHER")).Claim(within(t), "NEW"), store.ErrForeign)
	heir := openAt(t, server.URL("x", "takeover="+owner))
	for range 2 {
		must(t, heir.Claim(within(t), "NEW"))
	}
	wantErr(t, "the claim of the former", s.Claim(within(t), owner), store.ErrForeign)
}
