package wal

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// AppendBarrierClosed appends a barrier to the closed log of a partition, as the only frame of
// its writer, and returns its sequence and CRC. Only the checkpointers append to a closed log.
// If it fails, the barrier may be in the log all the same; a barrier that no checkpoint was cut
// at has no effect.
func AppendBarrierClosed(ctx context.Context, js jetstream.JetStream, app string, p uint32, stamp int64, cut frame.Cut) (seq uint64, crc uint32, err error) {
	f := frame.Frame{
		Header: frame.Header{App: app, Partition: p, Kind: frame.Barrier, Writer: newWriterID(), Number: 1, Stamp: stamp},
		Cut:    cut,
	}
	data, err := new(frame.Encoder).Append(nil, &f, compress.LZ4)
	if err != nil {
		return 0, 0, fmt.Errorf("barrier of %s/%d: %w", app, p, err)
	}
	ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: natsconn.DeploySubject(app, p), Data: data})
	if err != nil {
		return 0, 0, fmt.Errorf("append a barrier to log %s: %w", natsconn.WALStream(app, p), err)
	}
	return ack.Sequence, f.CRC, nil
}
