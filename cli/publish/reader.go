package publish

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-faster/jx"
	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/cli/lines"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

const (
	batchBytesMax  = 256 << 10 // several events per message; larger messages are not faster
	headerBytesMax = 4 << 10   // reserved for headers within the payload limit
)

// message is one NATS message, and the lines in it.
type message struct {
	msg   *nats.Msg
	lines []int // numbers from 1
	bytes int64 // of the input
}

func (m *message) events() int { return len(m.lines) }

// lineError is a line that cannot be sent.
type lineError struct {
	line  int
	bytes int64
	err   error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

// reader builds messages from lines.
type reader struct {
	lines  *lines.Scanner
	opt    Options
	limit  int // bytes of a message
	number int
	// held is a line that did not fit into the previous message.
	held      []byte
	heldBytes int64
}

func newReader(in io.Reader, opt Options, payloadMax int64) *reader {
	return &reader{lines: lines.New(in), opt: opt, limit: int(payloadMax) - headerBytesMax}
}

// next returns the next message, io.EOF after the last one, or a *lineError for a skipped line.
func (r *reader) next() (*message, error) {
	m := &message{msg: nats.NewMsg(r.opt.Subject)}
	for m.events() < r.opt.Batch {
		text, size, err := r.line()
		if errors.Is(err, io.EOF) && m.events() > 0 {
			break
		} else if err != nil {
			return nil, err
		}
		if len(text) > r.limit && m.events() == 0 {
			return nil, &lineError{r.number, size, fmt.Errorf("has %d bytes; the server takes %d", len(text), r.limit)}
		}
		if err := lines.One(text); err != nil {
			if m.events() == 0 {
				return nil, &lineError{r.number, size, err}
			}
			r.held, r.heldBytes = append(r.held[:0], text...), size
			r.number--
			break
		}
		if m.events() > 0 && len(m.msg.Data)+1+len(text) > min(r.limit, batchBytesMax) {
			r.held, r.heldBytes = append(r.held[:0], text...), size
			r.number--
			break
		}
		if m.events() > 0 {
			m.msg.Data = append(m.msg.Data, '\n')
		}
		m.msg.Data = append(m.msg.Data, text...)
		m.lines = append(m.lines, r.number)
		m.bytes += size
	}
	return m, r.setHeaders(m)
}

// line returns the next line that is not blank, trimmed, and its size in the input.
func (r *reader) line() (text []byte, size int64, err error) {
	if r.held != nil {
		text, size = r.held, r.heldBytes
		r.held = nil
		r.number = r.lines.Number()
		return text, size, nil
	}
	if r.lines.Scan() {
		r.number = r.lines.Number()
		return r.lines.Text(), r.lines.Read(), nil
	}
	if err := r.lines.Err(); err != nil {
		return nil, 0, fmt.Errorf("read line %d: %w", r.number+1, err)
	}
	return nil, 0, io.EOF
}

// setHeaders sets the message id and the headers that the options ask for.
func (r *reader) setHeaders(m *message) (err error) {
	id := r.opt.IDPrefix + "-" + strconv.Itoa(m.lines[0])
	if r.opt.IDAttr != "" {
		if id, err = attribute(m.msg.Data, r.opt.IDAttr, false); err != nil {
			return &lineError{m.lines[0], m.bytes, err}
		}
	}
	m.msg.Header.Set(nats.MsgIdHdr, id)
	if r.opt.TimeAttr != "" {
		ts, err := attribute(m.msg.Data, r.opt.TimeAttr, true)
		if err != nil {
			return &lineError{m.lines[0], m.bytes, err}
		}
		m.msg.Header.Set("Ef-Timestamp", ts)
	}
	if r.opt.Chunk {
		m.msg.Header.Set("Ef-Chunk", "1")
	}
	return nil
}

// attribute returns the string or number of attribute attr in an event, which is an object. A time
// must be a whole number, as in replay: 3.0 is 3.
func attribute(object []byte, attr string, isTime bool) (string, error) {
	value := ""
	err := jx.DecodeBytes(object).ObjBytes(func(d *jx.Decoder, key []byte) (err error) {
		if string(key) != attr {
			return d.Skip()
		}
		switch d.Next() {
		case jx.Null:
			return errors.New("it is null")
		case jx.Number:
			n, err := d.Num()
			if value = n.String(); err != nil || !isTime {
				return err
			}
			ms, ok := rowjson.Long([]byte(value))
			if value = strconv.FormatInt(ms, 10); !ok {
				return fmt.Errorf("%s is no whole number of ms", n)
			}
			return nil
		}
		value, err = d.Str()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("take %s from the event: %w", attr, err)
	}
	if value == "" {
		return "", fmt.Errorf("the event has no attribute %s", attr)
	}
	return value, nil
}
