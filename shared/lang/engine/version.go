package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/lang/frame"
)

// Level is the semantics level of new deployments: the rules that turn frames into state
// and results. Apps that a release of major version 0 deployed have no level, and their
// logs are never applied.
//
// A change of apply that gives another result, another position, another clock or another
// state for any log needs a new level, and a task must continue to apply older levels by
// their rules. TestGoldenLogs detects such a change. The release of 1.0.0 fixes level 1;
// until then its golden logs may be rewritten.
const Level = 1

// ErrLevel says that this build lacks the rules to apply a frame. Run the build that the
// error names; do not retry.
var ErrLevel = errors.New("another build applies this log")

// ErrScaled says that the app has another number of partitions from here on. Tasks of the
// former number end at this point of their logs.
var ErrScaled = errors.New("the app was scaled")

// Settings are the settings that Apply reads. The deployment fixes them and its deploy
// frame carries them, so that two processors never differ. A new task gets all of them from
// the deployment. A missing field means what it meant before the field existed.
type Settings struct {
	// DedupWindow is how long a task remembers a message id, in ms of the log's time: of
	// the messages published to a stream with the same id, one is applied within it.
	DedupWindow int64 `json:"dedup_window_ms"`
	Limits
}

// Check returns an error that names an invalid setting.
func (s Settings) Check() error {
	if s.DedupWindow < 1 {
		return fmt.Errorf("dedup.window is %s, want 1ms or more", time.Duration(s.DedupWindow)*time.Millisecond)
	}
	return nil
}

// JSON returns the form that a deploy frame carries.
func (s Settings) JSON() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has only numbers and texts
	}
	return string(data)
}

// inForce holds the contents of the newest deploy frame. The zero value means that the log has none.
type inForce struct {
	number uint64 // of the app's version
	level  uint64
	stamp  int64 // of the deployment, ms
}

// deploy applies a deploy frame. It returns false if that version or a newer one is in
// force already: a leader may append late what another one has appended.
func (t *Task) deploy(f *frame.Frame) (bool, error) {
	t.upgrade = nil
	v := &f.Deploy
	if f.App != t.plan.Name || f.Partition != t.partition {
		return false, fmt.Errorf("the deploy frame belongs to the log of %s/%d, and this is the log of %s/%d", f.App, f.Partition, t.plan.Name, t.partition)
	}
	if uint64(v.Number) <= t.version.number {
		return false, nil
	}
	if v.Level != Level {
		return false, fmt.Errorf("%w: app %q runs at semantics level %d, and this build has level %d; run version %s, which deployed the app, or a newer one", ErrLevel, t.plan.Name, v.Level, Level, v.Build)
	}
	plan, err := Compile(v)
	if err != nil {
		return false, fmt.Errorf("the text in the deploy frame is refused: %w", err)
	}
	if t.version.number > 0 && plan.Partitions != t.plan.Partitions {
		return false, fmt.Errorf("%w: it has %d partitions from version %d on, and this is a task of %d", ErrScaled, plan.Partitions, v.Number, t.plan.Partitions)
	}
	if t.pinned {
		return t.passOver(v, plan), nil
	}
	if t.keepsFrom(uint64(v.Number)) {
		t.expect(plan)
		return true, nil
	}
	var s Settings
	d := json.NewDecoder(bytes.NewReader([]byte(v.Settings)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return false, fmt.Errorf("%w: the settings in the deploy frame are not all known: %w; run version %s, which deployed the app, or a newer one", ErrLevel, err, v.Build)
	}
	force := inForce{number: uint64(v.Number), level: uint64(v.Level), stamp: f.Stamp}
	if t.version.number > 0 {
		t.upgrade, err = t.prepare(plan, v, s, force)
		return err == nil, err
	}
	if plan.Digest != t.plan.Digest {
		return false, fmt.Errorf("the deploy frame has another text of app %q (%s) than the task (%s); the log and the deployment do not belong together", t.plan.Name, plan.Digest, t.plan.Digest)
	}
	if s != t.settings {
		return false, fmt.Errorf("the deploy frame has the settings %s, and the task %s; the log and the deployment do not belong together", v.Settings, t.settings.JSON())
	}
	t.version = force
	return true, nil
}

// admit refuses a frame before the first deploy frame.
func (t *Task) admit(f *frame.Frame) error {
	if t.version.number == 0 {
		return fmt.Errorf("%w: there is a frame of %s before any deploy frame, so a release of major version 0 wrote it, and no later release applies it; run version 0.x for what lies there", ErrLevel, f.Kind)
	}
	if t.version.level != Level {
		return fmt.Errorf("%w: the state is of semantics level %d, and this build has level %d; run the version that wrote the checkpoint, or a newer one", ErrLevel, t.version.level, Level)
	}
	return nil
}

// Deployed returns the number of the app's version that is in force and the instant of
// its deployment, in ms; 0 before the first deploy frame.
func (t *Task) Deployed() (version uint64, stamp int64) { return t.version.number, t.version.stamp }
