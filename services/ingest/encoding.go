package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
)

// headerEncoding says how the payload of a message is compressed.
const headerEncoding = "Content-Encoding"

// errInflated says that a compressed payload has more bytes than a message may have.
var errInflated = errors.New("the payload is too large")

// inflater decompresses payloads. It keeps its memory from message to message.
type inflater struct {
	gzip gzip.Reader
	zstd *zstd.Decoder
	out  bytes.Buffer
}

// inflate returns the message with a decompressed payload of at most bytesMax bytes, which is
// valid until the next call.
func (f *inflater) inflate(m *nats.Msg, bytesMax int) (*nats.Msg, error) {
	encoding := m.Header.Get(headerEncoding)
	if encoding == "" {
		return m, nil
	}
	var from io.Reader
	var err error
	switch in := bytes.NewReader(m.Data); strings.ToLower(encoding) {
	case "identity":
		from = in
	case "gzip":
		from, err = &f.gzip, f.gzip.Reset(in)
	case "zstd":
		if f.zstd == nil {
			f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		}
		if err == nil {
			from, err = f.zstd, f.zstd.Reset(in)
		}
	default:
		return nil, fmt.Errorf("header %s is %.40q: expected gzip or zstd, or none", headerEncoding, encoding)
	}
	f.out.Reset()
	if err == nil {
		_, err = f.out.ReadFrom(io.LimitReader(from, int64(bytesMax)+1))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("the payload is not %s: %w", encoding, err)
	case f.out.Len() > bytesMax:
		return nil, fmt.Errorf("%w: more than %d bytes when it is decompressed (ingest.event_bytes_max)", errInflated, bytesMax)
	}
	plain := nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: maps.Clone(m.Header), Data: f.out.Bytes(), Sub: m.Sub}
	plain.Header.Del(headerEncoding)
	return &plain, nil
}
