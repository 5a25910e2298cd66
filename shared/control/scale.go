package control

import (
	"context"
	"time"
)

// The verb that changes the number of partitions of an app.
const VerbScale = "scale" // ScaleRequest → Scaled, as soon as it is under way

// ScaleRequest changes the number of partitions of an app, or plans or aborts that. A repeated
// request changes nothing more.
type ScaleRequest struct {
	App        string `json:"app"`
	Partitions uint32 `json:"partitions,omitempty"`
	// Plan only asks whether it is possible, and how much state has to be read.
	Plan bool `json:"plan,omitempty"`
	// Abort ends a scaling that is not committed yet.
	Abort bool `json:"abort,omitempty"`
}

// Scaled is the answer: the app, and what is to be done. App.Scaling shows the progress.
type Scaled struct {
	App
	From uint32 `json:"from_partitions"`
	To   uint32 `json:"to_partitions"`
	// Bytes is the size of the state in the newest checkpoint, uncompressed.
	Bytes int64 `json:"state_bytes"`
	// Refused is why a plan is not possible; "" if it is.
	Refused string `json:"refused,omitempty"`
}

// Scaling is a change of the number of partitions that is under way.
type Scaling struct {
	From    uint32    `json:"from_partitions"`
	To      uint32    `json:"to_partitions"`
	Started time.Time `json:"started"`
	// Committed says that the app has the new number of partitions, and only its logs have to be
	// opened. Before that, it can be aborted.
	Committed bool `json:"committed,omitempty"`
	// Step, and the entries that were read of all, are only in answers of the leader.
	Step  string `json:"step,omitempty"`
	Read  int64  `json:"entries_read,omitempty"`
	Total int64  `json:"entries,omitempty"`
}

// StepDivide is the step that takes the longest. Scaling.Read counts in it.
const StepDivide = "dividing the state"

// Scale changes the number of partitions of an app.
func (c *Client) Scale(ctx context.Context, r ScaleRequest) (s Scaled, err error) {
	err = c.Do(ctx, VerbScale, r, &s)
	return s, err
}
