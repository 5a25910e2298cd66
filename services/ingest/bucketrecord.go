package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// loadRowsMax is how many rows of a load are appended together.
const loadRowsMax = 1024

// Headers of KV buckets.
const (
	headerOperation = "KV-Operation"
	headerMarker    = "Nats-Marker-Reason" // of a delete that the server has written
)

// record adds the record of a message to those that wait. An error says why its value cannot be
// a row; then the record says that the key has none. Without a key that the table can have,
// there is no record.
func (b *bucket) record(m *nats.Msg) error {
	key := keyOf(m.Subject)
	deleted := m.Header.Get(headerOperation) != "" || m.Header.Get(headerMarker) != ""
	if err := b.fits(key); err != nil {
		if deleted {
			return nil
		}
		return err
	}
	var err error
	b.value.Reset()
	if !deleted {
		err = b.decode(m)
	}
	r := siddhiql.Record{Op: siddhiql.RowPut, Created: b.created.UnixNano(), Load: b.load, Revision: b.at}
	switch {
	case deleted || err != nil:
		if b.loading {
			return err // a load has the rows that exist
		}
		b.value.Reset()
		r.Op = siddhiql.RowDeleted
	case b.loading:
		r.Op = siddhiql.LoadRow
	}
	b.add(r, key)
	return err
}

// fits reports why a key cannot be the primary key of a row.
func (b *bucket) fits(key string) error {
	attr := b.keyAttr()
	switch bits := 64; {
	case len(key) > b.link.source.keyMax:
		return fmt.Errorf("the key has %d bytes, limit %d (limits.key_bytes_max)", len(key), b.link.source.keyMax)
	case attr.Type == event.String:
	default:
		if attr.Type == event.Int {
			bits = 32
		}
		if n, err := strconv.ParseInt(key, 10, bits); err != nil || strconv.FormatInt(n, 10) != key {
			return fmt.Errorf("the key %.80q is no %s, as the primary key %s of table %s", key, attr.Type, attr.Name, b.link.source.stream.Name)
		}
	}
	return nil
}

func (b *bucket) keyAttr() event.Attr {
	t := b.link.source.stream.Table
	return t.Schema.Attrs[t.Key[0]]
}

// decode reads the value of a message.
func (b *bucket) decode(m *nats.Msg) error {
	if len(m.Data) > b.s.cfg.EventBytesMax {
		return fmt.Errorf("value of %d bytes, limit %d (ingest.event_bytes_max)", len(m.Data), b.s.cfg.EventBytesMax)
	}
	plain, err := b.in.inflater.inflate(m, b.s.cfg.EventBytesMax)
	if err != nil {
		return err
	}
	before := b.decoder.Ignored()
	n, refused := b.decoder.Rows(b.value, plain.Data, 0)
	b.link.source.ignored.Add(b.decoder.Ignored() - before)
	switch {
	case refused != nil:
		return refused[0].Err
	case n != 1:
		return fmt.Errorf("the value has %d rows: expected one JSON object for each key", n)
	}
	t := b.link.source.stream.Table
	for _, a := range t.Indexes {
		i := b.of.Values.Index(t.Schema.Attrs[a].Name)
		if i < 0 || t.Schema.Attrs[a].Type.Class() != event.Texts {
			continue
		}
		if size := b.value.Cols[i].TextBytes(0); size > b.link.source.keyMax {
			return fmt.Errorf("attribute %s has %d bytes, limit %d, because the table finds rows by it (limits.key_bytes_max)", t.Schema.Attrs[a].Name, size, b.link.source.keyMax)
		}
	}
	return nil
}

// add adds a record with the row that was decoded, if any.
func (b *bucket) add(r siddhiql.Record, key string) {
	at := b.link.source.stream.Table.Key[0]
	for i := range b.records.Cols[:len(b.of.Values.Attrs)+1] {
		c := &b.records.Cols[i]
		switch from := i - min(max(i-at, 0), 1); {
		case i == at && b.keyAttr().Type == event.String:
			c.AppendText(key)
		case i == at:
			n, _ := strconv.ParseInt(key, 10, 64) // fits has checked it
			c.AppendInt(n)
		case b.value.Len() == 0:
			c.AppendNull()
		default:
			c.AppendFrom(&b.value.Cols[from], 0)
		}
	}
	b.of.AppendRecord(b.records, r, b.in.arrived)
	b.link.source.accepted.Add(1)
}

// control adds the record that starts or commits the load.
func (b *bucket) control(op siddhiql.RecordOp, revision uint64) {
	for i := range len(b.of.Values.Attrs) + 1 {
		b.records.Cols[i].AppendNull()
	}
	b.of.AppendRecord(b.records, siddhiql.Record{Op: op, Created: b.created.UnixNano(), Load: b.load, Revision: revision}, b.in.arrived)
}

// recordBytes returns the bytes of texts in the records that wait.
func (b *bucket) recordBytes() (n int) {
	for i := range b.records.Cols {
		if c := &b.records.Cols[i]; c.Type.Class() == event.Texts && len(c.Ends) > 0 {
			n += int(c.Ends[len(c.Ends)-1])
		}
	}
	return n
}

// flush appends the records that wait to every log.
func (b *bucket) flush(ctx context.Context) error {
	n := b.records.Len()
	if n == 0 {
		return nil
	}
	in := b.in
	in.letter = messageHeaders{ts: in.arrived}
	in.sends, in.cost = in.sends[:0], 0
	for _, l := range b.link.source.logs {
		if p := in.split(l, b.records, 0, n); p != nil {
			return errors.New(p.text)
		}
	}
	if err := in.opened(ctx); err != nil {
		return err
	}
	if err := in.room(ctx); err != nil {
		return err
	}
	in.append(b.s.newAck(answerTo{progress: b.progress, round: b.progress.started()}, in.cost, in.sends[0].log, len(in.sends)))
	b.records.Reset()
	return nil
}
