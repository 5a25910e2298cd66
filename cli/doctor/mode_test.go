package doctor

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// Fixes fit the mode that runs: no advice to start members of a cluster for a single process, and
// the name of the service to start for a cluster.
func TestFixesAreForTheModeThatRuns(t *testing.T) {
	for mode, words := range map[string]struct{ has, hasNot []string }{
		"embedded": {[]string{"eventflux run"}, []string{"serve --services", "the members", "start the checkpointers", "restart processor", "nats stream info"}},
		"external": {[]string{"serve --services"}, []string{"eventflux run"}},
	} {
		p := &examination{
			Config: Config{Settings: config.Default()},
			services: []micro.Info{{
				ServiceIdentity: micro.ServiceIdentity{Name: natsconn.ServiceName(control.Service), Version: "1.0.0", Metadata: map[string]string{"nats": mode}},
			}},
			apps: []control.App{{Name: "w", Partitions: 1}},
			streams: map[string]*stream{
				"EFW_w_0": {config: jetstream.StreamConfig{Name: "EFW_w_0"}, cluster: &jetstream.ClusterInfo{Name: "c"}},
			},
		}
		r := &report{}
		for _, check := range []func(context.Context, *report){p.checkServices, p.checkLeader, p.checkTasks, p.checkStreams, p.checkReplicas} {
			check(t.Context(), r)
		}
		var fixes strings.Builder
		for _, f := range r.findings {
			fixes.WriteString(f.Fix + "\n")
		}
		for _, want := range words.has {
			if !strings.Contains(fixes.String(), want) {
				t.Errorf("%s: no fix says %q:\n%s", mode, want, fixes.String())
			}
		}
		for _, wrong := range words.hasNot {
			if strings.Contains(fixes.String(), wrong) {
				t.Errorf("%s: a fix says %q:\n%s", mode, wrong, fixes.String())
			}
		}
	}
}
