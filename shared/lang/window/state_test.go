package window_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

var rowSchema = &event.Schema{Name: "S", Attrs: []event.Attr{
	{Name: "k", Type: event.String}, {Name: "v", Type: event.Int}, {Name: "t", Type: event.Long},
}}

func number(n int64) window.Param { return window.Param{Attr: -1, Type: event.Int, Int: n} }

func ms(n int64) window.Param {
	return window.Param{Attr: -1, Type: event.Long, Time: true, Int: n}
}

func share(v float64) window.Param { return window.Param{Attr: -1, Type: event.Double, Real: v} }

func attr(i int) window.Param { return window.Param{Attr: i, Type: rowSchema.Attrs[i].Type} }

var (
	yes  = window.Param{Attr: -1, Type: event.Bool, Int: 1}
	desc = window.Param{Attr: -1, Type: event.String, Text: "desc"}
)

// driven is a window with a clock of its own.
type driven struct {
	window.Window
	env *window.Env
	out strings.Builder // what it has emitted
	new func() window.Window
}

// advance moves the clock, from timer to timer.
func (d *driven) advance(now int64, emit window.Emit) {
	for at, _, ok := d.Due(); ok && at <= now; at, _, ok = d.Due() {
		d.env.Now = max(d.env.Now, at)
		d.Fire(emit)
	}
	d.env.Now = now
}

// restart takes the state out and puts it into a new window.
func (d *driven) restart(t *rapid.T) {
	old := d.Window
	d.Window = d.new()
	d.Reset()
	old.Keys(func(key []byte) {
		value, _ := old.Append(nil, key)
		if err := d.Put(key, value); err != nil {
			t.Fatal(err)
		}
	})
	if err := d.Ready(); err != nil {
		t.Fatal(err)
	}
}

func (d *driven) emit(chunk []window.Row) {
	for _, r := range chunk {
		if r.Kind == window.Reset {
			d.out.WriteString("reset ")
			continue
		}
		fmt.Fprintf(&d.out, "%d:%d@%d ", r.Kind, r.B.Cols[1].Ints[r.I], r.TS)
	}
	d.out.WriteString("\n")
}

// step lets time pass and rows come.
func (d *driven) step(t *rapid.T) {
	emit := func([]window.Row) {}
	d.env.Now += rapid.Int64Range(0, 30).Draw(t, "ms")
	for at, _, ok := d.Due(); ok && at <= d.env.Now; at, _, ok = d.Due() {
		d.Fire(emit)
	}
	rows := event.NewBatch(rowSchema)
	var chunk []window.Row
	for i := range rapid.SampledFrom([]int{1, 1, 2, 3, 30}).Draw(t, "rows") {
		if key := rapid.SampledFrom([]string{"null", "a", "", "of more than seven bytes"}).Draw(t, "k"); key == "null" {
			rows.Cols[0].AppendNull()
		} else {
			rows.Cols[0].AppendText(key)
		}
		rows.Cols[1].AppendInt(rapid.Int64Range(-3, 3).Draw(t, "v"))
		rows.Cols[2].AppendInt(d.env.Now - rapid.Int64Range(0, 40).Draw(t, "t"))
		rows.TS = append(rows.TS, d.env.Now-rapid.Int64Range(-5, 20).Draw(t, "ts"))
		chunk = append(chunk, window.Row{B: rows, I: int32(i), TS: rows.TS[i]})
	}
	d.Add(chunk, emit)
}

// crowd is some time that passes and many rows of one key that come at once, late
// ones among them.
type crowd struct {
	ms, late int64
	key      string
	rows     int
	step     int64
}

func drawCrowd(t *rapid.T) crowd {
	return crowd{
		ms:   rapid.Int64Range(0, 12).Draw(t, "ms"),
		late: rapid.Int64Range(-3, 14).Draw(t, "late"),
		key:  rapid.SampledFrom([]string{"a", "b"}).Draw(t, "k"),
		rows: rapid.SampledFrom([]int{1, 1, 50, 128, 300}).Draw(t, "rows"),
		step: rapid.SampledFrom([]int64{0, 7, -7919}).Draw(t, "step"),
	}
}

func (c crowd) come(d *driven) {
	d.env.Now += c.ms
	for at, _, ok := d.Due(); ok && at <= d.env.Now; at, _, ok = d.Due() {
		d.Fire(d.emit)
	}
	rows, ts := event.NewBatch(rowSchema), d.env.Now-c.late
	var chunk []window.Row
	for i := range c.rows {
		rows.Cols[0].AppendText(c.key)
		rows.Cols[1].AppendInt(int64(i))
		rows.Cols[2].AppendInt(int64(i) * c.step % 1000)
		rows.TS = append(rows.TS, ts)
		chunk = append(chunk, window.Row{B: rows, I: int32(i), TS: ts})
	}
	d.Add(chunk, d.emit)
}

var crowded = []struct {
	window string
	params []window.Param
}{
	{"session", []window.Param{ms(10), attr(0), ms(10)}}, // merged again and again
	{"sort", []window.Param{number(200), attr(2)}},
}

func newDriven(name string, params []window.Param, env *window.Env, expired bool) *driven {
	spec, _ := window.Lookup(name)
	make := func() window.Window {
		return spec.New(window.Config{Env: env, Schema: rowSchema, Params: params, Used: []int{0, 1, 2}, Expired: expired})
	}
	return &driven{env: env, Window: make(), new: make}
}

// TestCrowdedStates holds states of several blocks to the laws of state.Source.
func TestCrowdedStates(t *testing.T) {
	for _, test := range crowded {
		t.Run(test.window, func(t *testing.T) {
			statetest.Run(t, func() state.Source { return newDriven(test.window, test.params, &window.Env{}, true) },
				func(t *rapid.T, s state.Source) { drawCrowd(t).come(s.(*driven)) })
		})
	}
}

// TestRestartsDoNotShow takes the state out and puts it back time and again: what
// comes out stays the same.
func TestRestartsDoNotShow(t *testing.T) {
	for _, test := range crowded {
		t.Run(test.window, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				whole := newDriven(test.window, test.params, &window.Env{}, true)
				restarted := newDriven(test.window, test.params, &window.Env{}, true)
				for range rapid.IntRange(1, 30).Draw(t, "steps") {
					c := drawCrowd(t)
					c.come(whole)
					c.come(restarted)
					if rapid.Bool().Draw(t, "restart") {
						restarted.restart(t)
					}
				}
				if whole.out.String() != restarted.out.String() {
					t.Fatalf("%s\nand with restarts\n%s", &whole.out, &restarted.out)
				}
			})
		})
	}
}

// states are the windows whose states are tested.
var states = []struct {
	name   string
	window string
	params []window.Param
	lapsed bool // expired rows are not wanted
}{
	{"length", "length", []window.Param{number(5)}, false},
	{"length of several blocks", "length", []window.Param{number(20)}, false},
	{"length of none", "length", []window.Param{number(0)}, false},
	{"lengthBatch", "lengthBatch", []window.Param{number(4)}, false},
	{"lengthBatch of current rows", "lengthBatch", []window.Param{number(4)}, true},
	{"lengthBatch streaming", "lengthBatch", []window.Param{number(4), yes}, false},
	{"time", "time", []window.Param{ms(20)}, false},
	{"timeLength", "timeLength", []window.Param{ms(20), number(6)}, false},
	{"batch", "batch", nil, false},
	{"batch in pieces of current rows", "batch", []window.Param{number(2)}, true},
	{"delay", "delay", []window.Param{ms(20)}, false},
	{"cron", "cron", []window.Param{{Attr: -1, Type: event.String, Text: "* * * * * ?"}}, false},
	{"hopping", "hopping", []window.Param{ms(50), ms(15)}, false},
	{"hopping of current rows", "hopping", []window.Param{ms(50), ms(25)}, true},
	{"frequent", "frequent", []window.Param{number(2), attr(0)}, false},
	{"frequent of whole events", "frequent", []window.Param{number(6)}, false},
	{"lossyFrequent", "lossyFrequent", []window.Param{share(0.3), share(0.2), attr(0)}, false},
	{"lossyFrequent of whole events", "lossyFrequent", []window.Param{share(0.5)}, false},
	{"unique:ever", "unique:ever", []window.Param{attr(0)}, false},
	{"unique:first", "unique:first", []window.Param{attr(0), attr(1)}, false},
	{"unique:length", "unique:length", []window.Param{attr(1), number(4)}, false},
	{"unique:time", "unique:time", []window.Param{attr(1), ms(20)}, false},
	{"unique:lengthBatch", "unique:lengthBatch", []window.Param{attr(1), number(4)}, false},
	{"unique:firstLengthBatch of current rows", "unique:firstLengthBatch", []window.Param{attr(1), number(4)}, true},
	{"unique:timeBatch", "unique:timeBatch", []window.Param{attr(0), ms(25)}, false},
	{"unique:firstTimeBatch", "unique:firstTimeBatch", []window.Param{attr(0), ms(25), number(3)}, true},
	{"unique:timeLengthBatch", "unique:timeLengthBatch", []window.Param{attr(1), ms(40), number(3)}, false},
	{"unique:externalTimeBatch", "unique:externalTimeBatch", []window.Param{attr(0), attr(2), ms(20)}, true},
	{"unique:externalTimeBatch with all", "unique:externalTimeBatch", []window.Param{attr(0), attr(2), ms(20), number(3), ms(15), yes}, false},
	{"unique:deduplicate", "unique:deduplicate", []window.Param{attr(0), ms(20)}, false},
	{"timeBatch", "timeBatch", []window.Param{ms(20)}, false},
	{"timeBatch streaming", "timeBatch", []window.Param{ms(20), number(3), yes}, false},
	{"externalTime", "externalTime", []window.Param{attr(2), ms(20)}, false},
	{"externalTimeBatch", "externalTimeBatch", []window.Param{attr(2), ms(20)}, true},
	{"externalTimeBatch with all", "externalTimeBatch", []window.Param{attr(2), ms(20), number(3), ms(15), yes}, false},
	{"session", "session", []window.Param{ms(10)}, false},
	{"session by key", "session", []window.Param{ms(10), attr(0), ms(5)}, false},
	{"sort", "sort", []window.Param{number(4), attr(1), desc, attr(0)}, false},
	{"sort of several blocks", "sort", []window.Param{number(150), attr(1), attr(2), desc}, false},
}

// TestStates holds the state of every window to the laws of state.Source.
func TestStates(t *testing.T) {
	for _, test := range states {
		t.Run(test.name, func(t *testing.T) {
			spec, ok := window.Lookup(test.window)
			if !ok {
				t.Fatal("there is no such window")
			}
			if err := spec.Check(test.params); err != nil {
				t.Fatal(err)
			}
			statetest.Run(t, func() state.Source {
				return newDriven(test.window, test.params, &window.Env{}, !test.lapsed)
			}, func(t *rapid.T, s state.Source) { s.(*driven).step(t) })
		})
	}
}
