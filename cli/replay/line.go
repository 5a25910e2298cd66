package replay

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-faster/jx"
)

// line is one line of the input as it reads. Slices are parts of the line's text.
type line struct {
	stream  string
	table   string
	ts      int64
	data    []byte   // one event
	rows    [][]byte // or some that arrive together
	own     []int64  // event_ts: one for all rows, or one for each
	list    bool     // event_ts is a list
	op      string
	app     string   // upgrade: the file of the next version
	drop    []string // upgrade: the components to give up; dropAll: all that cannot go on
	dropAll bool
	has     key

	backfill bool  // upgrade: state that would start empty is built from the lines before
	wrong    error // what is wrong with a key, as the library would only wrap it
}

// The operations on state.
const (
	opPersist = "persist" // take a snapshot
	opReset   = "reset"   // drop the apps with their memory
	opRestore = "restore" // load the newest snapshot
	opUpgrade = "upgrade" // change the app
)

// The operations on a table that a KV bucket fills; opReset is one, too.
const (
	opPut    = "put"
	opDelete = "delete"
)

// key is a set of the keys that a line may have.
type key uint16

const (
	keyStream key = 1 << iota
	keyTS
	keyData
	keyRows
	keyOwn
	keyOp
	keyApp
	keyDrop
	keyTable
	keyBackfill
)

var keys = map[string]key{
	"stream": keyStream, "ts": keyTS, "data": keyData, "rows": keyRows, "event_ts": keyOwn, "op": keyOp,
	"app": keyApp, "drop": keyDrop, "table": keyTable, "backfill": keyBackfill,
}

// expected says what the value of a key is.
var expected = map[key]string{
	keyStream: "a name", keyTS: "a whole number of ms", keyData: "an event",
	keyRows: "an array of events", keyOwn: "a whole number of ms, or an array of them", keyOp: "a name",
	keyTable: "a name", keyApp: "a file name", keyDrop: "true, or an array of ids of components",
	keyBackfill: "true or false",
}

// parse reads text into l and checks that its keys make one of the known lines.
func (l *line) parse(d *jx.Decoder, text []byte) error {
	*l = line{rows: l.rows[:0], own: l.own[:0]}
	d.ResetBytes(text)
	if d.Next() != jx.Object {
		return errors.New(`is not a JSON object such as {"stream":"S","ts":1000,"data":[…]}`)
	}
	if err := d.ObjBytes(l.field); err != nil {
		if l.wrong != nil {
			return l.wrong
		}
		return fmt.Errorf("not JSON: %w", err)
	}
	if err := d.Skip(); !errors.Is(err, io.EOF) {
		return errors.New("has text after the JSON object")
	}
	return l.check()
}

func (l *line) field(d *jx.Decoder, name []byte) error {
	k, known := keys[string(name)]
	switch {
	case !known:
		l.wrong = fmt.Errorf("unknown key %q; known are stream, ts, data, rows, event_ts, table, op, app, drop and backfill", name)
	case l.has&k != 0:
		l.wrong = fmt.Errorf("has %q twice", name)
	default:
		l.has |= k
		if err := l.value(d, k); err != nil {
			l.wrong = fmt.Errorf("%q: expected %s: %w", name, expected[k], err)
		}
	}
	return l.wrong
}

// value reads the value of one key.
func (l *line) value(d *jx.Decoder, k key) (err error) {
	switch k {
	case keyStream:
		l.stream, err = d.Str()
	case keyTable:
		l.table, err = d.Str()
	case keyTS:
		l.ts, err = d.Int64()
	case keyData:
		l.data, err = d.Raw()
	case keyRows:
		err = d.Arr(func(d *jx.Decoder) error {
			row, err := d.Raw()
			l.rows = append(l.rows, row)
			return err
		})
	case keyOwn:
		err = l.ownTimestamps(d)
	case keyOp:
		l.op, err = d.Str()
	case keyApp:
		l.app, err = d.Str()
	case keyDrop:
		err = l.dropped(d)
	case keyBackfill:
		l.backfill, err = d.Bool()
	}
	return err
}

func (l *line) dropped(d *jx.Decoder) (err error) {
	if d.Next() == jx.Bool {
		l.dropAll, err = d.Bool()
		return err
	}
	return d.Arr(func(d *jx.Decoder) error {
		id, err := d.Str()
		l.drop = append(l.drop, id)
		return err
	})
}

func (l *line) ownTimestamps(d *jx.Decoder) error {
	one := func(d *jx.Decoder) error {
		ts, err := d.Int64()
		l.own = append(l.own, ts)
		return err
	}
	if l.list = d.Next() == jx.Array; l.list {
		return d.Arr(one)
	}
	return one(d)
}

func (l *line) check() error {
	switch l.has &^ (keyTS | keyOwn | keyDrop | keyBackfill) {
	case keyOp, keyOp | keyApp:
		switch {
		case l.op != opPersist && l.op != opReset && l.op != opRestore && l.op != opUpgrade:
			return fmt.Errorf("unknown operation %q; known are persist, reset, restore and upgrade", l.op)
		case l.op == opUpgrade && l.app == "":
			return errors.New(`has no "app", the file of the next version`)
		case l.op != opUpgrade && l.has&(keyApp|keyDrop|keyBackfill) != 0:
			return fmt.Errorf(`has "app", "drop" or "backfill", which only an upgrade has, and not %s`, l.op)
		}
		if l.has&keyOwn != 0 {
			return errors.New(`has "event_ts" without an event`)
		}
	case keyTable | keyOp, keyTable | keyOp | keyData:
		switch {
		case l.op != opPut && l.op != opDelete && l.op != opReset:
			return fmt.Errorf("unknown operation %q on a table; known are put, delete and reset", l.op)
		case (l.op == opReset) != (l.has&keyData == 0):
			return fmt.Errorf(`expected "data" with put, a row, and with delete, a key, and none with reset; the operation is %s`, l.op)
		case l.has&keyOwn != 0:
			return errors.New(`has "event_ts" without an event`)
		}
	case keyStream | keyData:
		l.rows = append(l.rows, l.data)
	case keyStream | keyRows:
	case 0:
		if l.has&keyOwn != 0 {
			return errors.New(`has "event_ts" without an event`)
		}
	default:
		return errors.New("is neither events (stream with data, or stream with rows), nor a row of a table (table with op), nor time that passes (ts alone)")
	}
	if l.has&(keyDrop|keyBackfill) != 0 && l.op != opUpgrade {
		return errors.New(`has "drop" or "backfill" without an upgrade`)
	}
	if l.has&keyTS == 0 {
		return errors.New(`lacks "ts", the ms at which it happens`)
	}
	if n := len(l.own); l.has&keyOwn != 0 && l.list && n != len(l.rows) {
		return fmt.Errorf(`has %d "event_ts" for %d rows`, n, len(l.rows))
	}
	return nil
}

// timestamp returns the own timestamp of row i.
func (l *line) timestamp(i int) int64 {
	switch len(l.own) {
	case 0:
		return l.ts
	case 1:
		return l.own[0]
	default:
		return l.own[i]
	}
}
