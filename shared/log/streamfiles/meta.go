package streamfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	metaFile     = "meta.inf"
	sumFile      = "meta.sum"
	metaBytesMax = 1 << 20
	stateFile    = "o.dat"
	clusterKV    = "KV_" + natsconn.ClusterBucket
)

// checkMeta checks the settings of a stream. serve is false if there is nothing that the
// server could serve.
func (c *checker) checkMeta(s *folder) (serve bool, err error) {
	info, why := readMeta(s)
	file := filepath.Join(s.dir, metaFile)
	if why == "" {
		s.made = info.Created
		return true, nil
	}
	switch {
	case s.name == clusterKV || s.ours && !s.holdsData() && (s.end == nil || s.end.Seq == 0):
		if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		original, err := c.setAside(s.name, s.dir)
		if err == nil {
			c.found(Finding{Kind: KindMeta, Stream: s.name, File: file, Original: original, What: why + "; the checkpointer makes the stream again, and nothing is lost"})
		}
		return false, err
	case !s.ours:
		c.found(Finding{Kind: KindMeta, Stream: s.name, File: file, What: why + "; the server leaves the stream out until its settings are restored from a copy"})
		return false, nil
	case s.proved(info):
		// A server that is killed while it changes the settings leaves this, too.
		s.made = info.Created
		if err := writeSum(s.dir, s.name); err != nil {
			return false, err
		}
		c.found(Finding{Kind: KindMeta, Stream: s.name, File: filepath.Join(s.dir, sumFile), What: why + "; the settings themselves are right, and the checksum was written again"})
		return true, nil
	case !s.holdsData(): // the whole log is gone, and the witness says that there was one
	case !c.Rebuild:
		return false, &MetaError{Stream: s.name, File: file, Why: why}
	}
	return true, c.rebuildMeta(s, why)
}

// readMeta returns the settings as they are stored, as far as they can be read, and what is
// wrong with them.
func readMeta(s *folder) (info server.FileStreamInfo, why string) {
	data, err := readBounded(filepath.Join(s.dir, metaFile), metaBytesMax)
	if err != nil {
		return info, missing(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&info); err != nil {
		return server.FileStreamInfo{}, err.Error()
	}
	if info.Name != s.name {
		return server.FileStreamInfo{}, fmt.Sprintf("it is of stream %q", info.Name)
	}
	sum, err := readBounded(filepath.Join(s.dir, sumFile), metaBytesMax)
	if err != nil {
		return info, sumFile + ": " + missing(err)
	}
	if string(sum) != sumOf(s.name, data) {
		return info, "it does not match its checksum in " + sumFile
	}
	return info, ""
}

func missing(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "it is missing"
	}
	return err.Error()
}

// proved reports whether settings that do not match their checksum are right: they equal the
// settings that EventFlux makes the stream with, and the time of its creation is known.
func (s *folder) proved(info server.FileStreamInfo) bool {
	if !s.ours || info.Name != s.name || s.end != nil && !info.Created.Equal(s.end.Created) {
		return false
	}
	have, err := convert[jetstream.StreamConfig](info.StreamConfig)
	if err != nil {
		return false
	}
	// Without a witness, a time that is wrong halts a task that has a checkpoint.
	right := len(natsconn.StreamDifferences(have, s.want)) == 0 ||
		s.log && len(natsconn.StreamDifferences(have, natsconn.ClosedWALConfig(s.want))) == 0 // its deploy frame is still to come
	return right && plausibleTime(info.Created)
}

func plausibleTime(t time.Time) bool {
	return t.Year() >= 2020 && t.Before(time.Now().Add(24*time.Hour))
}

// convert turns the settings of one library into those of the other; both have the names of
// JetStream's API.
func convert[To, From any](from From) (to To, err error) {
	data, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(data, &to)
	}
	return to, err
}

// holdsData reports whether there are messages in the folder.
func (s *folder) holdsData() bool {
	indices, err := blocksOf(s.msgs)
	if err != nil {
		return true // not known
	}
	for _, i := range indices {
		if info, err := os.Stat(filepath.Join(s.msgs, fmt.Sprint(i, blockSuffix))); err != nil || info.Size() > 0 {
			return true
		}
	}
	return false
}

// createdText finds the time in settings that cannot be decoded.
var createdText = regexp.MustCompile(`"Created":"([0-9T:.Z-]+)"`)

// rebuildMeta writes the settings that EventFlux makes the stream with.
func (c *checker) rebuildMeta(s *folder, why string) error {
	made := c.now
	from := "; the time of its making is lost: a task that has a checkpoint of the log halts"
	if s.end != nil {
		made, from = s.end.Created, ""
	} else if data, err := readBounded(filepath.Join(s.dir, metaFile), metaBytesMax); err == nil {
		if m := createdText.FindSubmatch(data); m != nil {
			if t, err := time.Parse(time.RFC3339Nano, string(m[1])); err == nil && plausibleTime(t) {
				made, from = t, ""
			}
		}
	}
	if !s.log {
		from = "" // nothing depends on it
	}
	config, err := convert[server.StreamConfig](s.want)
	if err != nil {
		return err
	}
	data, err := json.Marshal(server.FileStreamInfo{Created: made, StreamConfig: config})
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, metaFile)
	original := ""
	if _, err := os.Stat(file); err == nil {
		if original, err = c.replace(s.name, file, data); err != nil {
			return err
		}
	} else if err := writeFile(file, data); err != nil {
		return err
	}
	if err := writeSum(s.dir, s.name); err != nil {
		return err
	}
	s.made = made
	c.found(Finding{Kind: KindMeta, Stream: s.name, File: file, Original: original, What: why + "; the settings were made again" + from})
	return nil
}

func sumOf(name string, data []byte) string {
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err) // the key has the right size
	}
	_, _ = h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

func writeSum(dir, name string) error {
	data, err := readBounded(filepath.Join(dir, metaFile), metaBytesMax)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, sumFile), []byte(sumOf(name, data)))
}

// checkConsumers removes the consumers whose files are damaged: a server takes the whole
// stream offline for one of them.
func (c *checker) checkConsumers(s *folder) error {
	dir := filepath.Join(s.dir, "obs")
	consumers, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range consumers {
		at := filepath.Join(dir, o.Name())
		if _, err := os.Stat(filepath.Join(at, keyFile)); err == nil {
			continue
		}
		file, why := damagedConsumer(at, s.name, o.Name())
		if why == "" {
			continue
		}
		original, err := c.setAside(s.name, at)
		if err != nil {
			return err
		}
		c.found(Finding{Kind: KindConsumer, Stream: s.name, File: file, Original: original, What: fmt.Sprintf("%s; consumer %s was removed. EventFlux creates its own again; if it belongs to another program, it starts over when that program creates it", why, o.Name())})
	}
	return nil
}

func damagedConsumer(dir, stream, name string) (file, why string) {
	file = filepath.Join(dir, metaFile)
	data, err := readBounded(file, metaBytesMax)
	if err != nil {
		return file, missing(err)
	}
	var info server.FileConsumerInfo
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&info); err != nil {
		return file, err.Error()
	}
	sum, err := readBounded(filepath.Join(dir, sumFile), metaBytesMax)
	if err != nil {
		return filepath.Join(dir, sumFile), missing(err)
	}
	if string(sum) != sumOf(stream+"/"+name, data) {
		return file, "it does not match its checksum in " + sumFile
	}
	file = filepath.Join(dir, stateFile)
	state, err := readBounded(file, blockBytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "" // nothing was delivered yet
	case err != nil:
		return file, err.Error()
	case len(state) < 2 || state[0] != 22 || state[1] != 1 && state[1] != 2:
		return file, "it is no state of a consumer"
	}
	return "", ""
}
