package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// record is what the bucket EF_LINKS has of a view: how far its bucket has the rows. It only
// saves work.
type record struct {
	Digest  string    `json:"digest"`  // of the view's definition
	Bucket  time.Time `json:"bucket"`  // when the bucket was created
	Results time.Time `json:"results"` // when the output stream was created
	// Sequence is the last message of the output stream whose rows are in the bucket, and Place the
	// position in its headers. Messages of other streams do not count.
	Sequence uint64   `json:"sequence"`
	Place    string   `json:"place,omitempty"`
	Cuts     []string `json:"cuts,omitempty"`
	// Filling says that keys without a row are not deleted yet. That is done once the messages up
	// to FillEnd are read.
	Filling bool   `json:"filling,omitempty"`
	FillEnd uint64 `json:"fill_end,omitempty"`
	// Known is a revision of the bucket: it was checked who has written the values up to there.
	Known uint64 `json:"known"`
}

// encode puts a checksum in front of the record.
func (r *record) encode() ([]byte, error) {
	data, err := json.Marshal(r)
	return fmt.Appendf(nil, "%08x %s", crc32.ChecksumIEEE(data), data), err
}

func parseRecord(value []byte) (r record, err error) {
	sum, data, _ := strings.Cut(string(value), " ")
	want, err := strconv.ParseUint(sum, 16, 32)
	if err != nil || uint32(want) != crc32.ChecksumIEEE([]byte(data)) {
		return record{}, errors.New("its checksum is wrong")
	}
	err = json.Unmarshal([]byte(data), &r)
	return r, err
}

func (r *record) cuts() (cuts []cut, err error) {
	for _, text := range r.Cuts {
		c, err := result.Parse(text)
		if err != nil {
			return nil, err
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

func (v *View) recordKey() string {
	return natsconn.LinkKey(v.cfg.App, v.cfg.Stream.Name, "$VIEW."+v.of.Bucket+"."+strconv.FormatUint(uint64(v.cfg.Partition), 10))
}

// loadRecord returns the record. A missing or damaged one is the zero record.
func (v *View) loadRecord(ctx context.Context) (r record, cuts []cut, err error) {
	m, err := natsconn.LastMessage(ctx, v.cfg.Conn, "KV_"+natsconn.LinksBucket, "$KV."+natsconn.LinksBucket+"."+v.recordKey())
	if err != nil {
		return r, nil, fmt.Errorf("bucket %s, which the checkpointers make: %w", natsconn.LinksBucket, err)
	}
	if m.Seq == 0 || m.Header.Get(headerOperation) != "" {
		return record{}, nil, nil
	}
	if r, err = parseRecord(m.Data); err == nil {
		cuts, err = r.cuts()
	}
	if err != nil {
		v.log(slog.LevelWarn, "the record of a view is damaged; the bucket is filled again", "key", v.recordKey(), "reason", err)
		return record{}, nil, nil
	}
	return r, cuts, nil
}

// saveRecord writes the record. A failure is no reason to stop: without the record, the next
// start has more to do.
func (v *View) saveRecord(ctx context.Context, r *record) error {
	data, err := r.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := v.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV." + natsconn.LinksBucket + "." + v.recordKey(), Data: data}); err != nil {
		return fmt.Errorf("bucket %s: put %s: %w", natsconn.LinksBucket, v.recordKey(), err)
	}
	return nil
}
