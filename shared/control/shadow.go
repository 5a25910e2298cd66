package control

import (
	"context"
	"slices"
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/state"
)

// The verbs of shadows. A recovery process runs a shadow, and answers for it alone.
const (
	VerbShadow        = "shadow"         // ShadowRequest → ShadowStarted; asked of a checkpointer
	VerbShadowApprove = "shadow-approve" // ApproveRequest → Shadow; asked of a checkpointer
	VerbShadowStop    = "shadow-stop"    // AppRequest → App; asked of a checkpointer
)

// RecoveryService is the name of the recovery service in subjects.
const RecoveryService = "recovery"

// ShadowVerb is the verb that the process asks for that runs the shadow of an app:
// ShadowReportRequest → ShadowReport.
func ShadowVerb(app string) string { return "shadow." + app }

// Shadow is the next version of an app that runs beside it without publishing, so that its
// results can be compared. Raft has it: it outlives any process. An upgrade, a scaling or a
// restore of the app ends it.
type Shadow struct {
	// ID is the Raft index of its start.
	ID uint64 `json:"id"`
	// Text is the next version, and Plan its digest. Lists of apps leave the text out.
	Text string `json:"text,omitempty"`
	Plan string `json:"plan"`
	// Drop gives up the state that the next version cannot take over.
	Drop bool `json:"drop,omitempty"`
	// Version is the version of the app that it is compared with.
	Version uint32 `json:"version"`
	// Checkpoint is where the next version starts. It is retained, and the log after it, until the
	// shadow ends.
	Checkpoint state.Epoch `json:"checkpoint"`
	Started    time.Time   `json:"started"`
	// Approved has, by result stream, the kinds of differences that were approved.
	Approved map[string][]shadow.Kind `json:"approved,omitempty"`
}

// Unapproved returns the kinds of differences in a report that were not approved, by result
// stream.
func (s *Shadow) Unapproved(r *shadow.Report) map[string][]shadow.Kind {
	left := map[string][]shadow.Kind{}
	for stream, kinds := range r.Kinds() {
		for _, k := range kinds {
			if !slices.Contains(s.Approved[stream], k) {
				left[stream] = append(left[stream], k)
			}
		}
	}
	return left
}

// ShadowRequest starts a shadow of the app that the text names. If the same text is shadowed
// already, nothing changes; a shadow of another text ends.
type ShadowRequest struct {
	Text string `json:"text"`
	Drop bool   `json:"drop,omitempty"`
	// From is the checkpoint to start from; 0: the newest at or before At, or of all.
	From state.Epoch `json:"from,omitempty"`
	At   time.Time   `json:"at,omitzero"`
}

// ShadowStarted is the answer to VerbShadow.
type ShadowStarted struct {
	App     string           `json:"app"`
	Shadow  Shadow           `json:"shadow"` // without the text
	Changes engine.Migration `json:"changes"`
	// Replaced says that a shadow of another text has ended for it.
	Replaced bool `json:"replaced,omitempty"`
}

// ApproveRequest approves all kinds of differences that a result stream has had so far. A new
// kind needs another approval.
type ApproveRequest struct {
	App    string `json:"app"`
	Stream string `json:"stream"`
}

// ShadowReportRequest asks how a shadow compares.
type ShadowReportRequest struct {
	// ID is the shadow that is meant: the report of another one is CodeUnavailable. 0: any.
	ID uint64 `json:"id,omitempty"`
	// CaughtUp has the answer wait until all that is in the log at the request was compared.
	CaughtUp bool `json:"caught_up,omitempty"`
}

// ShadowReport is how a shadow compares with its app.
type ShadowReport struct {
	Shadow Shadow      `json:"shadow"` // without the text
	State  ShadowState `json:"state"`
	// Error says why the shadow has failed.
	Error string `json:"error,omitempty"`
	// Behind is how many frames of the log it has not compared yet.
	Behind uint64 `json:"behind"`
	// Process runs the shadow.
	Process string `json:"process"`
	shadow.Report
}

// StartShadow starts a shadow.
func (c *Client) StartShadow(ctx context.Context, r ShadowRequest) (s ShadowStarted, err error) {
	err = c.Do(ctx, VerbShadow, r, &s)
	return s, err
}

// ApproveShadow approves what differs in a result stream.
func (c *Client) ApproveShadow(ctx context.Context, r ApproveRequest) (s Shadow, err error) {
	err = c.Do(ctx, VerbShadowApprove, r, &s)
	return s, err
}

// StopShadow ends the shadow of an app. It is no error if there is none.
func (c *Client) StopShadow(ctx context.Context, r AppRequest) (a App, err error) {
	err = c.Do(ctx, VerbShadowStop, r, &a)
	return a, err
}

// ShadowReport returns how a shadow compares. It waits for a process that runs the shadow until
// ctx ends.
func (c *Client) ShadowReport(ctx context.Context, app string, r ShadowReportRequest) (s ShadowReport, err error) {
	err = c.Ask(ctx, RecoveryService, ShadowVerb(app), r, &s)
	return s, err
}
