package control

import (
	"context"
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
)

// The verbs of versions of an app.
const (
	VerbUpgrade = "upgrade" // UpgradeRequest → Upgraded
	VerbHistory = "history" // AppRequest → History
	VerbVersion = "version" // VersionRequest → Version, with its text
)

// Version is one of the versions of an app. It is also in Raft, so no fields are added to it.
type Version struct {
	Number uint32 `json:"number"` // from 1, the deployment
	Plan   string `json:"plan"`   // digest of the text
	Level  uint32 `json:"level"`
	Build  string `json:"build"` // version of the program that made it
	// Stamp is in ms, as in the deploy frame of each log.
	Stamp int64     `json:"stamp_ms"`
	Time  time.Time `json:"time"`
	engine.Settings
	// Text is empty if neither the log nor a checkpoint needs it any more, and in lists.
	Text string `json:"text,omitempty"`
	// Change says how the state of the previous version was converted, in the format of
	// package engine.
	Change string `json:"change,omitempty"`
	// Of is the version whose text a rollback has put in force again; 0: it is no rollback.
	Of uint32 `json:"rollback_of,omitempty"`
	// Dropped are the components whose state the change has dropped.
	Dropped []string `json:"dropped,omitempty"`
}

// History is the answer to VerbHistory.
type History struct {
	App string `json:"app"`
	// Current is the version whose schemas ingest writes. A later one is being put in force.
	Current  uint32    `json:"current"`
	Versions []Version `json:"versions"` // oldest first, without texts
	// Scalings has the number of partitions of each version that a scaling made, as far as its text
	// and the one before are kept.
	Scalings map[uint32]int `json:"scalings,omitempty"`
	// Partitions have the version that each task has applied the frame of; 0: it is not known.
	Partitions []uint32 `json:"partitions"`
}

// VersionRequest asks for a version of an app.
type VersionRequest struct {
	App string `json:"app"`
	// Number is the version; 0 means the newest.
	Number uint32 `json:"number,omitempty"`
}

// UpgradeRequest changes a deployed app, or plans the change. A repeated request changes
// nothing more.
type UpgradeRequest struct {
	// Text is the new text. Its @app:name names the app.
	Text string `json:"text,omitempty"`
	// App and To ask for a rollback: the text of version To, or of the version before if To is
	// 0, becomes the newest version. Text is empty then.
	App string `json:"app,omitempty"`
	To  uint32 `json:"to,omitempty"`
	// From is the version that the plan was made for; another one in force is CodeFenced. 0:
	// any.
	From uint32 `json:"from,omitempty"`
	// Plan only asks what would happen.
	Plan bool `json:"plan,omitempty"`
	// Drop agrees to the loss of the state that the plan drops.
	Drop bool `json:"drop,omitempty"`
	// Shadowed makes the change only if the text was run as a shadow up to the end of the log, and
	// all differences were approved.
	Shadowed bool `json:"shadowed,omitempty"`
	// Backfill builds the state of components that would start empty from the retained log.
	Backfill bool `json:"backfill,omitempty"`
}

// Upgraded is the answer to VerbUpgrade.
type Upgraded struct {
	App
	// From is the version before the change, and To the one after it. They are equal if the
	// text is in force already.
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	// Changes is what happens to each component.
	Changes *engine.Migration `json:"changes,omitempty"`
	// Differs is, for a rollback, the components that are not as they would be without the changes
	// since that version.
	Differs []engine.Difference `json:"differs,omitempty"`
	// Backfill is from where the log is read, by partition, if state is built from it.
	Backfill []BackfillStart `json:"backfill,omitempty"`
	// Refused says why the change is not possible as it was asked for. Only the answer to a
	// request for the plan has it; any other request fails with it.
	Refused string `json:"refused,omitempty"`
	// Warnings are those of a deployment.
	Warnings []string `json:"warnings,omitempty"`
}

// BackfillStart is where the log of a partition is read from to build state.
type BackfillStart struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time,omitzero"` // when the frame was stored; zero: the log has none there yet
}

// Upgrade changes an app, or plans that.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest) (u Upgraded, err error) {
	err = c.Do(ctx, VerbUpgrade, r, &u)
	return u, err
}

// History lists the versions of an app.
func (c *Client) History(ctx context.Context, r AppRequest) (h History, err error) {
	err = c.Do(ctx, VerbHistory, r, &h)
	return h, err
}

// Version returns a version of an app with its text.
func (c *Client) Version(ctx context.Context, r VersionRequest) (v Version, err error) {
	err = c.Do(ctx, VerbVersion, r, &v)
	return v, err
}
