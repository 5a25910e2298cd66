package wal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// codeWrongLast is what JetStream answers if a stream does not end where the publisher
// expects it to.
const (
	codeWrongLast         = 10071
	codeWrongLastConstant = 10164
)

// Deployment is what the deploy frames of an app say.
type Deployment struct {
	App   string
	Stamp int64 // ms since the Unix epoch
	frame.Version
	// After has, by partition, the sequence that the frame follows in a log of major version
	// 0; nil: natsconn.EnsureApp made the logs, and the frame is their first.
	After []uint64
	// Scalings is how often the app was scaled: the subject of its logs depends on it.
	Scalings uint32
}

// Frame returns the deploy frame of a partition, of a writer with an id of its own.
func (d *Deployment) Frame(p uint32) ([]byte, error) {
	f := frame.Frame{Header: frame.Header{
		App: d.App, Partition: p, Kind: frame.Deploy, Writer: newWriterID(), Number: 1, Stamp: d.Stamp,
	}, Deploy: d.Version}
	data, err := new(frame.Encoder).Append(nil, &f, compress.LZ4)
	if err != nil {
		return nil, fmt.Errorf("deploy frame of %s/%d: %w", d.App, p, err)
	}
	return data, nil
}

// Deploy appends the deploy frame to the log of partition p and opens the log for other
// frames. It may be repeated: it completes what was left undone, and changes nothing where
// all is done. On return the frame is durable.
func (d *Deployment) Deploy(ctx context.Context, js jetstream.JetStream, p uint32) error {
	name := natsconn.WALStream(d.App, p)
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("log %s: %w", name, err)
	}
	info := stream.CachedInfo()
	closed := natsconn.WALClosed(info.Config, d.App, p)
	subject, after := natsconn.DeploySubject(d.App, p), uint64(0)
	if !closed {
		subject = natsconn.RoutedSubject(d.App, p, d.Scalings)
		if d.After != nil {
			after = d.After[p]
		} else if info.State.LastSeq > 0 {
			return nil // the log is open already, after its deploy frame
		}
	}
	if info.State.FirstSeq > after+1 {
		return nil // the frame was there, and is trimmed by now
	}
	if info.State.LastSeq <= after {
		if err := d.append(ctx, js.Conn(), p, subject, after); err != nil && !errors.Is(err, errTaken) {
			return fmt.Errorf("append the deploy frame to log %s: %w", name, err)
		}
		faultpoint.Reach(faultpoint.DeployFrame)
	}
	if err := d.confirm(ctx, stream, p, after+1); err != nil {
		return fmt.Errorf("log %s: %w", name, err)
	}
	if !closed {
		return nil
	}
	return natsconn.OpenWAL(ctx, js, d.App, p, d.Scalings)
}

// errTaken says that another frame, perhaps the same one, is where the deploy frame was
// to be.
var errTaken = errors.New("the log has gone on")

// Append appends the frame of a later version to the log of partition p. It may be repeated:
// tasks ignore a frame whose version is in force. On return the frame is durable.
func (d *Deployment) Append(ctx context.Context, js jetstream.JetStream, p uint32) error {
	return d.appendTo(ctx, js, p, natsconn.RoutedSubject(d.App, p, d.Scalings))
}

// AppendClosed is Append for a log that is closed.
func (d *Deployment) AppendClosed(ctx context.Context, js jetstream.JetStream, p uint32) error {
	return d.appendTo(ctx, js, p, natsconn.DeploySubject(d.App, p))
}

func (d *Deployment) appendTo(ctx context.Context, js jetstream.JetStream, p uint32, subject string) error {
	data, err := d.Frame(p)
	if err != nil {
		return err
	}
	if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}); err != nil {
		return fmt.Errorf("append the frame of version %d to log %s: %w", d.Number, natsconn.WALStream(d.App, p), err)
	}
	return nil
}

func (d *Deployment) append(ctx context.Context, nc *nats.Conn, p uint32, subject string, after uint64) error {
	data, err := d.Frame(p)
	if err != nil {
		return err
	}
	answer, err := nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: subject, Data: data,
		Header: nats.Header{jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(after, 10)}},
	})
	if err != nil {
		return err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return fmt.Errorf("answer %.80q of JetStream: %w", answer.Data, err)
	case ack.Error != nil && (ack.Error.ErrorCode == codeWrongLast || ack.Error.ErrorCode == codeWrongLastConstant):
		return errTaken
	case ack.Error != nil:
		return ack.Error
	}
	return nil
}

// confirm checks that the frame at seq is the deploy frame, whichever leader appended it.
func (d *Deployment) confirm(ctx context.Context, stream jetstream.Stream, p uint32, seq uint64) error {
	m, err := stream.GetMsg(ctx, seq)
	if err != nil {
		return fmt.Errorf("read the deploy frame at sequence %d: %w", seq, err)
	}
	f, err := new(frame.Decoder).Decode(m.Data)
	switch {
	case err != nil:
		return fmt.Errorf("sequence %d: %w", seq, err)
	case f.Kind != frame.Deploy || f.App != d.App || f.Partition != p || f.Stamp != d.Stamp ||
		f.Deploy.Number != d.Number || f.Deploy.Level != d.Level || f.Deploy.Text != d.Text && d.Text != "": // it may be forgotten
		return fmt.Errorf("%w: at sequence %d there is a frame of %s, and not the deploy frame of this deployment; remove the app and deploy it again: eventflux app rm %s", ErrForeign, seq, f.Kind, d.App)
	}
	return nil
}

// ErrForeign is returned for a log that holds another frame where the deploy frame has to
// be. Do not retry.
var ErrForeign = errors.New("the log does not belong to the deployment")
