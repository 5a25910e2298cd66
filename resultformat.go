package eventflux

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/output"
)

// resultFormats reads the results of a stream that are not JSON. Each names the version of the app
// that wrote it, and that version's text says how.
type resultFormats struct {
	client      *Client
	app, stream string
	versions    map[uint32]*resultFormat
	row         []byte // reused
}

// resultFormat is how a version writes the stream.
type resultFormat struct {
	contentType string // "": JSON
	reader      *siddhiql.ResultReader
}

func newResultFormats(c *Client, app, stream string) *resultFormats {
	return &resultFormats{client: c, app: app, stream: stream, versions: map[uint32]*resultFormat{}}
}

// add notes how a version writes the stream.
func (f *resultFormats) add(version uint32, def *siddhiql.Stream) error {
	format := &resultFormat{contentType: def.Sink.ContentType()}
	if def.Sink.Format != nil {
		var err error
		if format.reader, err = def.Sink.Format.Reader(def); err != nil {
			return fmt.Errorf("results of stream %s in version %d of app %s: %w", f.stream, version, f.app, err)
		}
	}
	f.versions[version] = format
	return nil
}

// json returns a result as JSON. The bytes are valid until the next call.
func (f *resultFormats) json(ctx context.Context, h nats.Header, data []byte) ([]byte, error) {
	is := h.Get(output.HeaderFormat)
	if is == "" {
		return data, nil
	}
	n, err := strconv.ParseUint(h.Get(output.HeaderVersion), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("header %s: %w", output.HeaderVersion, err)
	}
	version := uint32(n)
	if f.versions[version] == nil {
		if err := f.load(ctx, version); err != nil {
			return nil, fmt.Errorf("stream %s of app %s: the result is %s, and version %d of the app, which has written it, cannot be read: %w", f.stream, f.app, is, version, err)
		}
	}
	format := f.versions[version]
	if format.contentType != is {
		return nil, fmt.Errorf("stream %s of app %s: the result is %s, but version %d of the app writes %s", f.stream, f.app, is, version, format.name())
	}
	if f.row, err = format.reader.AppendJSON(f.row[:0], data); err != nil {
		return nil, fmt.Errorf("stream %s of app %s: decode %s of version %d: %w", f.stream, f.app, is, version, err)
	}
	return f.row, nil
}

func (f *resultFormat) name() string {
	if f.contentType == "" {
		return "JSON"
	}
	return f.contentType
}

// load asks for the text of a version.
func (f *resultFormats) load(ctx context.Context, version uint32) error {
	v, err := f.client.control.Version(ctx, control.VersionRequest{App: f.app, Number: version})
	if err != nil {
		return err
	}
	plan, err := siddhiql.CompileDeployed(v.Text)
	if err != nil {
		return err
	}
	def := plan.Stream(f.stream)
	if def == nil {
		return fmt.Errorf("it has no stream %s", f.stream)
	}
	return f.add(version, def)
}
