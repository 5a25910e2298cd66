package processor

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// lostTailError says that the log ends before a frame whose results are in the output stream.
// Stop; do not retry: new frames get the sequences of lost ones, and their results would look
// like results that are already published.
type lostTailError struct {
	Log     string `json:"log"`
	End     uint64 `json:"end"`     // the log's last sequence when it was noticed
	Results uint64 `json:"results"` // the sequence of the newest results
	loss    uint64 // sequence of the message in the output stream that records the loss
}

func (e *lostTailError) Error() string {
	text := fmt.Sprintf("log %s ends at %d, but results of %d are in the output stream: the log lost its tail, and new frames get the numbers of lost ones; restore the log from a copy, or deploy the app under another @app:name",
		e.Log, e.End, e.Results)
	if e.loss > 0 {
		text += fmt.Sprintf("; a restored log is believed once message %d of the output stream is deleted", e.loss)
	}
	return text
}

// lossFence is a fence message as this file reads it. The loss is recorded there, because the
// length of the log no longer shows it once new frames are appended.
type lossFence struct {
	Owner    string         `json:"owner"`
	LostTail *lostTailError `json:"lost_tail"`
}

// checkLoss returns an error if a former owner found that the log lost its tail.
func (fe *fencer) checkLoss(ctx context.Context) error {
	stream := natsconn.OutStream(fe.plan.Name, fe.partition)
	fenced, err := natsconn.LastMessage(ctx, fe.nc, stream, natsconn.FenceSubject(fe.plan.Name, fe.partition))
	if err != nil {
		return fmt.Errorf("last fence of output stream %s: %w", stream, err)
	}
	var m lossFence
	if fenced.Seq == 0 {
		return nil
	}
	if err := json.Unmarshal(fenced.Data, &m); err != nil {
		return fmt.Errorf("fence %d of output stream %s: %w", fenced.Seq, stream, err)
	}
	if m.LostTail == nil {
		return nil
	}
	m.LostTail.loss = fenced.Seq
	return m.LostTail
}

// checkTail compares the end of the log with the newest results, of any generation. If the
// log has lost its tail, it records that after the fence, which has the sequence fence in the
// output stream.
func (fe *fencer) checkTail(ctx context.Context, end, newest, fence uint64) error {
	if newest <= end {
		return nil
	}
	lost := &lostTailError{Log: natsconn.WALStream(fe.plan.Name, fe.partition), End: end, Results: newest, loss: fence + 1}
	if err := fe.publishLoss(ctx, lost, fence); err != nil {
		lost.loss = 0
		return fmt.Errorf("%w; %w", lost, err)
	}
	return lost
}

func (fe *fencer) publishLoss(ctx context.Context, lost *lostTailError, fence uint64) error {
	data, err := json.Marshal(lossFence{Owner: fe.name, LostTail: lost})
	if err != nil {
		return err
	}
	msg := &nats.Msg{
		Subject: natsconn.FenceSubject(fe.plan.Name, fe.partition), Data: data,
		Header: nats.Header{jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(fence, 10)}},
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	answer, err := fe.nc.RequestMsgWithContext(ctx, msg)
	if err == nil {
		err = ackError(answer.Data)
	}
	if err != nil {
		return fmt.Errorf("write the loss into the output stream: %w; stop the process, or the next start will not notice it", err)
	}
	return nil
}
