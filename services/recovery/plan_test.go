package recovery

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/eventflux/eventflux/shared/state"
)

// digests are not the same in each run: a manifest names the time when its log was made.
var digests = regexp.MustCompile(`SHA-256 [0-9a-f]{64}, the checkpointer has [0-9a-f]{64}`)

// The scripts show which checkpoint a plan starts from, why it passes over others, where the
// replay of each partition ends, and which command it names when it refuses.
func TestPlans(t *testing.T) {
	r := newRig(t)
	datadriven.Walk(t, "testdata/plans", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "app":
				r.deploy(d.Input, scan[uint32](t, d, "partitions"))
			case "log":
				r.write(scan[uint32](t, d, "p"), d.Input)
			case "commit":
				r.commit(scan[state.Epoch](t, d, "epoch"))
			case "damage":
				r.damage(scan[state.Epoch](t, d, "epoch"))
			case "trim":
				r.trim(scan[uint32](t, d, "p"), scan[uint64](t, d, "before"))
			case "plan":
				return digests.ReplaceAllString(r.planned(t, d), "SHA-256 …")
			default:
				d.Fatalf(t, "unknown command")
			}
			return ""
		})
	})
}

// planned answers a request of a script as a person reads it.
func (r *rig) planned(t *testing.T, d *datadriven.TestData) string {
	q := &PlanRequest{App: r.app.Name, Look: d.HasArg("look")}
	for line := range strings.Lines(d.Input) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "to":
			q.To = state.Epoch(r.number(value))
		case "at":
			q.At = At(value)
		case "components":
			q.Components = strings.Fields(value)
		case "after":
			q.After = value
		case "verify":
			q.Verify = value
		default:
			d.Fatalf(t, "unknown line %q", line)
		}
	}
	c, err := r.service.newRestorePlan(t.Context(), q)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var b strings.Builder
	for _, o := range c.plan.PassedOver {
		fmt.Fprintf(&b, "passes over %d: %s\n", o.Epoch, o.Why)
	}
	if c.plan.Refused != "" {
		fmt.Fprintf(&b, "refused: %s\nnext: %s\n", c.plan.Refused, c.plan.Next)
		return b.String()
	}
	fmt.Fprintf(&b, "%s from checkpoint %d", c.plan.Target, c.plan.Checkpoint)
	if c.plan.Onto > 0 {
		fmt.Fprintf(&b, " onto %d", c.plan.Onto)
	}
	b.WriteByte('\n')
	for _, p := range c.plan.Partitions {
		fmt.Fprintf(&b, "partition %d: from %d to %s, %d frames, %d events\n", p.Partition, p.Barrier, p.Target, p.Frames, p.Events)
	}
	for _, one := range c.plan.Components {
		if one.Role != roleAll {
			fmt.Fprintf(&b, "%s in %v: %s %s\n", one.ID, one.Partitions, one.Role, one.Note)
		}
	}
	for _, w := range c.plan.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}
