package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// manifestFormat is the newest format. Format 2 adds Skipped, format 3 Partition.Version, and
// format 4 Run.Pack; a manifest is written in the oldest format that has what it says.
const manifestFormat = 4

// format returns the format that a manifest is written in.
func (m *Manifest) format() int {
	format := 1
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if p.packed() {
			return 4
		}
		if p.Version > 0 {
			format = 3
		}
		if len(p.Skipped) > 0 {
			format = max(format, 2)
		}
	}
	return format
}

// packed reports whether a pack has a run of the partition.
func (p *Partition) packed() bool {
	for i := range p.Components {
		if slices.ContainsFunc(p.Components[i].Runs, func(r Run) bool { return r.Pack != "" }) {
			return true
		}
	}
	return false
}

// VersionOf returns the version of the app that was in force at the barrier of partition p,
// and the digest of its text.
func (m *Manifest) VersionOf(p uint32) (number uint32, plan string) {
	if part := &m.Partitions[p]; part.Version > 0 {
		return part.Version, part.Plan
	}
	return 1, m.Plan
}

// ManifestName is the name of a checkpoint's manifest in the store.
func ManifestName(app string, epoch state.Epoch) string {
	return fmt.Sprintf("apps/%s/checkpoints/%020d.json", app, epoch)
}

// swappedDigits is how many digits of the digest tell manifests of one epoch apart.
const swappedDigits = 16

// SwappedName is the name of a manifest that replaces another of its epoch. digest is the
// SHA-256 of its bytes.
func SwappedName(app string, epoch state.Epoch, digest string) string {
	return fmt.Sprintf("apps/%s/checkpoints/%020d-%s.json", app, epoch, digest[:swappedDigits])
}

// EpochOf reads the epoch from the name of a manifest; false for other names.
func EpochOf(name string) (state.Epoch, bool) {
	_, file, _ := strings.Cut(name, "/checkpoints/")
	digits, _, ok := strings.Cut(strings.TrimSuffix(file, ".json")+"-", "-")
	epoch, err := strconv.ParseUint(digits, 10, 64)
	return state.Epoch(epoch), ok && err == nil && strings.HasSuffix(file, ".json")
}

// Encode returns the manifest as JSON, sets its format and digest, and refuses what
// DecodeManifest would.
func (m *Manifest) Encode() ([]byte, error) {
	m.Format = m.format()
	if what := m.wrong(); what != "" {
		return nil, fmt.Errorf("manifest of checkpoint %d of app %s: %s", m.Epoch, m.App, what)
	}
	var err error
	if m.Digest, err = m.sum(); err != nil {
		return nil, err
	}
	return m.json()
}

func (m *Manifest) json() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", " ")
	return append(data, '\n'), err
}

func (m *Manifest) sum() (string, error) {
	bare := *m
	bare.Digest = ""
	data, err := bare.json()
	return SHA256(data), err
}

// SHA256 returns the hash of bytes in hexadecimal.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// DecodeManifest reads what Encode wrote; object names it in errors. Any change, even a
// careful one by hand, is an error.
func DecodeManifest(object string, data []byte) (*Manifest, error) {
	var version struct{ Format int }
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, corrupt(object, -1, "%v", err)
	}
	if version.Format > manifestFormat {
		return nil, fmt.Errorf("%w: %s: format %d, known is %d; read it with the version that wrote it or a newer one", ErrVersion, object, version.Format, manifestFormat)
	}
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, corrupt(object, int(d.InputOffset()), "%v", err)
	}
	if m.Format != m.format() {
		return nil, corrupt(object, -1, "format %d, its content is of format %d", m.Format, m.format())
	}
	sum, err := m.sum()
	if err != nil || sum != m.Digest {
		return nil, corrupt(object, -1, "digest %s, its content has %s: it was altered", m.Digest, sum)
	}
	if again, err := m.json(); err != nil || !bytes.Equal(again, data) {
		return nil, corrupt(object, -1, "it is not written as manifests are: it was altered")
	}
	if what := m.wrong(); what != "" {
		return nil, corrupt(object, -1, "%s", what)
	}
	return m, nil
}

// ReadManifest reads the manifest of a checkpoint from the store. digest is the SHA-256
// of its bytes, as the checkpointer has it; "" does not compare.
func ReadManifest(ctx context.Context, s store.Store, name, digest string) (*Manifest, error) {
	data, err := get(ctx, s, name)
	if err != nil {
		return nil, err
	}
	if got := SHA256(data); digest != "" && got != digest {
		return nil, corrupt(name, -1, "its bytes have the SHA-256 %s, the checkpointer has %s", got, digest)
	}
	return DecodeManifest(name, data)
}

// wrong returns what no valid manifest says; "" if nothing.
func (m *Manifest) wrong() string {
	switch {
	case m.App == "" || m.Generation == 0 || m.Epoch == 0 || m.Term == 0:
		return fmt.Sprintf("app %q, generation %d, epoch %d, term %d; none of them is ever empty", m.App, m.Generation, m.Epoch, m.Term)
	case len(m.Partitions) == 0:
		return "no partition"
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if p.Partition != uint32(i) {
			return fmt.Sprintf("partition %d in place %d", p.Partition, i)
		}
		if what := p.Wrong(); what != "" {
			return fmt.Sprintf("partition %d: %s", i, what)
		}
	}
	return ""
}

// Wrong returns what no valid partition of a checkpoint says; "" if nothing.
func (p *Partition) Wrong() string {
	if p.Log.Sequence == 0 || p.Log.ID == (ID{}) || p.Log.Stream == "" {
		return fmt.Sprintf("a barrier at sequence %d of log %q with id %s", p.Log.Sequence, p.Log.Stream, p.Log.ID)
	}
	if (p.Version > 0) != (p.Plan != "") || p.Version == 1 {
		return fmt.Sprintf("version %d of the app with plan %q", p.Version, p.Plan)
	}
	for i, s := range p.Skipped {
		switch {
		case s.Sequence <= p.Log.Sequence || i > 0 && s.Sequence <= p.Skipped[i-1].Sequence:
			return fmt.Sprintf("sequence %d is passed over, which does not follow the one before", s.Sequence)
		case !isSHA256(s.SHA256) || s.Reason == "":
			return fmt.Sprintf("sequence %d is passed over with hash %q and reason %q", s.Sequence, s.SHA256, s.Reason)
		}
	}
	for i := range p.Components {
		c := &p.Components[i]
		if i > 0 && c.ID <= p.Components[i-1].ID {
			return fmt.Sprintf("component %q does not follow %q", c.ID, p.Components[i-1].ID)
		}
		if what := c.wrong(); what != "" {
			return fmt.Sprintf("component %q: %s", c.ID, what)
		}
	}
	return ""
}

func isSHA256(text string) bool {
	return len(text) == 2*sha256.Size && strings.Trim(text, "0123456789abcdef") == ""
}

func (c *Component) wrong() string {
	if c.ID == "" || c.Type == "" || c.Digest == (state.Digest{}) {
		return "no id, type or digest"
	}
	if v, err := semver.StrictNewVersion(c.Version); err != nil || v.String() != c.Version {
		return fmt.Sprintf("schema version %q is none", c.Version)
	}
	for i := range c.Runs {
		r := &c.Runs[i]
		switch {
		case !isSHA256(r.Name):
			return fmt.Sprintf("run %q is not named by a hash", r.Name)
		case (i == 0) != (r.Kind == Base) || (i > 0) != (r.Kind == Delta):
			return fmt.Sprintf("a %s in place %d of a chain", r.Kind, i)
		case r.wrongPack() != "":
			return r.wrongPack()
		case r.Epoch == 0 || r.Entries <= 0 || r.RawBytes <= 0 || r.Bytes <= 0 || r.Blocks <= 0:
			return fmt.Sprintf("run %s of epoch %d, with %d entries, %d bytes, %d stored, %d blocks", r.Name, r.Epoch, r.Entries, r.RawBytes, r.Bytes, r.Blocks)
		}
	}
	return ""
}
