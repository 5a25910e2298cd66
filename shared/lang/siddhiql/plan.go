package siddhiql

import (
	"reflect"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowavro"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
	"github.com/eventflux/eventflux/shared/lang/event/rowtext"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// Plan is a checked app: every name is resolved, every expression has a type, and the
// language accepts all of it. A plan is read-only.
type Plan struct {
	// Digest tells apart apps whose texts differ in more than comments and layout.
	Digest string
	Name   string // of @app:name; "" if the app has none
	// Partitions is the number of logs, and so of tasks, of the app
	// (@app:partitions, default 1).
	Partitions int
	Playback   bool // @app:playback: events' own timestamps drive the clock
	// Lateness is how long after later events an event may come in a playback app, in ms,
	// and still be applied in time order; LatenessOff: events are applied in order of
	// arrival.
	Lateness int64
	// Ahead is how far the own time of an event may be ahead of the wall clock of ingest in
	// a playback app, in ms.
	Ahead int64
	// After each Idle ms of wall clock without an event, a tick moves the input clock of a
	// playback app on by Increment ms. Both are 0 if that is off.
	Idle, Increment int64
	// Bounds say how much of its results the app keeps.
	Bounds   Bounds
	Streams  []*Stream
	Queries  []*Query     // in the order written, those inside partitions among them
	Blocks   []*Partition // the `partition with` blocks, in the order written
	Tables   []*Table     // in the order of their definitions
	Windows  []*NamedWindow
	Triggers []*Trigger // in the order of their definitions
	// Warnings say what the app does that its author may not want.
	Warnings ErrorList
}

// Stream returns the stream called name (never an inner one), or nil.
func (p *Plan) Stream(name string) *Stream {
	for _, s := range p.Streams {
		if s.Name == name && s.Block < 0 {
			return s
		}
	}
	return nil
}

// Published returns the streams whose rows go to the output stream.
func (p *Plan) Published() []*Stream {
	var streams []*Stream
	seen := make([]bool, len(p.Streams))
	for _, q := range p.Queries {
		if s := q.Target; s.Block < 0 && !s.Sink.Off && !seen[s.ID] {
			seen[s.ID] = true
			streams = append(streams, s)
		}
	}
	return streams
}

// Stream is a stream of an app. Defined ones come first, in the order of their
// definitions; implicit ones follow in the order of the queries that define them.
type Stream struct {
	ID      int // index in Plan.Streams
	Name    string
	Schema  *event.Schema
	Defined bool // by `define stream`: events can be published to it
	Block   int  // of an inner stream: index of its partition block; else -1
	// Subject is where events are published: @source(subject='…') or
	// "events.<Name>". "" for streams that are not defined, or have an Origin.
	Subject string
	// Origin is the JetStream stream that has the events (@source(stream='…')), or nil.
	Origin *Origin
	// Map says where the JSON of an event has the attributes (@map).
	Map rowjson.Mapping
	// Text says how the events are CSV or text (@map); nil: they are JSON.
	Text *rowtext.Mapping
	// Proto and Avro say how the events are messages of Protocol Buffers, or Avro (@map); nil:
	// they are not.
	Proto *rowproto.Mapping
	Avro  *rowavro.Mapping
	// TimeAttr is the attribute that has the events' own time, of type long in ms; -1:
	// none has (@source(timestamp='…')).
	TimeAttr int
	// Fault is the stream !name of the events that could not be applied; nil if no query
	// reads it. It has the attributes of this stream, then faultAttr.
	Fault *Stream
	// Refused says that Fault also has the events that a query's window, or the table that it
	// writes to, refuses (@OnError).
	Refused bool
	// Trigger fills the stream; nil: it is no trigger's.
	Trigger *Trigger
	Table   *Table       // nil: it is not a table
	Window  *NamedWindow // nil: it is no named window
	Sink    Sink
	// ShardKey tells which of an app's several partitions an event of the stream belongs
	// to: by the text of this value. It is nil if Partitions is 1, and for streams that
	// have no key in any partition block: no query reads those.
	ShardKey Expr
}

// Sink says how the rows of a stream are published (@sink).
type Sink struct {
	Packed bool // pack='ndjson': many rows to a message
	Off    bool // publish='false': not at all
	// Subject has the subjects of the rows (subject='…'); nil: out.<app>.<Stream>.<p>.
	Subject *subject.Template
	// Attrs has, by token of Subject, the attribute whose value the token is; -1 for others.
	Attrs []int
	// PerSubject is how many of the newest results stay on each subject
	// (max.msgs.per.subject='…'); 0: all.
	PerSubject uint64
	// View is the KV bucket that has the newest row of each key (kv='…'), or nil.
	View *View
	// Format says how rows are written (@map); nil: as JSON.
	Format *Format
}

// Query is one `from … insert into …`. Its input is Source, Join or Pattern; the others are
// nil.
type Query struct {
	ID   int    // index in Plan.Queries: the query's order
	Name string // of @info(name='…'), or ""
	Was  string // of @info(was='…'): what an earlier version of the app called the query
	// StateName names the query's components in the state. "" stands for Name, or for the
	// query's number. An upgrade sets it, so that a component keeps its id.
	StateName string
	// Text is the query in its normal form, without annotations. It identifies a query that
	// has no name.
	Text    string
	Block   int // index in Plan.Blocks, or -1
	Source  *Stream
	Join    *Join
	Pattern *Pattern
	// In is the shape of the rows that selection works on: Source's, or one that the join or
	// the pattern derives.
	In *event.Schema
	// Functions are the stream functions of Source. In has the rows of the last one, and Before
	// the filters after it.
	Functions []*StreamFunction
	Before    []Expr  // filters before the window of Source, of type Bool, over In
	Window    *Window // of Source; nil: none
	After     []Expr  // filters after the window
	Aggs      []Agg   // aggregators, in the order of select
	Select    []Expr  // over In, one for each attribute of Target; may hold *AggResult
	GroupBy   []int   // attributes of In
	Having    Expr    // over Target's attributes, or nil
	OrderBy   []Order
	Limit     int64 // rows of a chunk; -1: no limit
	Offset    int64
	Rate      *Rate  // nil: rows come out at once
	Current   bool   // current events are inserted
	Expired   bool   // expired events are inserted
	Write     *Write // nil: the rows are inserted into Target
	Target    *Stream
	Output    *event.Schema // the shape of the rows: Target's, with the types that cast() hides
	StarOnly  bool          // select *: every attribute of In as it is
	Pos       Pos
}

// Reads returns the streams that the query reads, each once, in the order that the query names
// them.
func (q *Query) Reads() []*Stream {
	switch {
	case q.Join != nil:
		return q.Join.reads()
	case q.Pattern != nil:
		return q.Pattern.reads()
	}
	return []*Stream{q.Source}
}

// RefusesEvents reports whether each row that the query writes to a table is made of one event
// of its source as it came, so that a refused row stands for that event.
func (q *Query) RefusesEvents() bool {
	return q.Write != nil && !q.Write.Delete && q.Source != nil && q.Window == nil && q.Rate == nil
}

// RowsLeave reports whether rows leave the aggregators one by one. Otherwise they stay until a
// window resets all, if it does.
func (q *Query) RowsLeave() bool {
	switch {
	case q.Join != nil:
		return true
	case q.Window == nil:
		return q.Source.leaves()
	}
	spec, _ := window.Lookup(q.Window.Name)
	return q.Expired || !spec.Resets
}

// ReadsFrom reports whether the stream brings the query rows.
func (q *Query) ReadsFrom(s *Stream) bool { return slices.Contains(q.Reads(), s) }

// Origin returns the stream that attribute a of In comes from, and its index there; false if
// the query makes the attribute itself.
func (q *Query) Origin(a int) (s *Stream, attr int, ok bool) {
	switch {
	case q.Join != nil:
		return q.Join.origin(a)
	case q.Pattern != nil:
		return q.Pattern.origin(a)
	}
	if a >= len(q.Source.Schema.Attrs) {
		return nil, 0, false // a stream function adds it
	}
	return q.Source, a, true
}

// Window is a window with its parameters checked.
type Window struct {
	Name   string
	Params []window.Param
	// Computed holds the expressions of computed parameters, by parameter; nil if none is
	// computed.
	Computed  []Expr
	Condition *Condition // that an expression window has; nil: none
}

// Condition is a condition over the rows that a window holds. Attributes are those of the
// newest row. An Agg without a name is the value of its argument for the oldest row.
type Condition struct {
	Expr Expr // of type Bool; may hold *AggResult
	Aggs []Agg
}

// Agg is one aggregator of a query's select.
type Agg struct {
	Name string
	Args []Expr // over In
	Type event.Type
}

// Order is one attribute of order by.
type Order struct {
	Attr int // of Target
	Desc bool
}

// Partition is one `partition with` block.
type Partition struct {
	ID      int
	Keys    []PartitionKey // one for each partitioned stream
	Queries []*Query
	// StateName names the block's component in the state. "" stands for its number. An
	// upgrade sets it.
	StateName string
	// IdlePeriod is how long after its last event a key is forgotten, in ms of the app's
	// clock (@purge); 0: never.
	IdlePeriod int64
}

// PartitionKey says how events of one stream are told apart: by Value, or by the labels of
// the Ranges whose conditions hold.
type PartitionKey struct {
	Stream *Stream
	Text   string // the key in its normal form, with the stream's name
	Value  Expr   // nil for ranges
	Ranges []Range
}

// Range is one `condition as 'label'`.
type Range struct {
	Cond  Expr
	Label string
}

// Expr is a checked expression: one of *Const, *Attr, *Arith, *Compare, *And,
// *Or, *Not, *IsNull, *Call, *AggResult.
type Expr interface {
	// Type is the static type.
	Type() event.Type
	// Holds is the type that values really have: cast() changes only Type.
	Holds() event.Type
}

// Const is a literal. Bools are 0 or 1 in Int; a Float is rounded to 32 bits.
type Const struct {
	T    event.Type
	Int  int64
	Real float64
	Text string
}

// Attr is an attribute of the current row: of the input, or in having of the output.
type Attr struct {
	Index int
	Attr  event.Attr
}

// ArithOp is one of + - * / %.
type ArithOp byte

// Arith is arithmetic in type T. Both sides are promoted to it.
type Arith struct {
	Op   ArithOp
	L, R Expr
	T    event.Type
}

// CompareOp is a comparison.
type CompareOp uint8

// The comparisons.
const (
	Equal CompareOp = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
)

// Compare compares two numbers of any types, two strings or two bools.
type Compare struct {
	Op   CompareOp
	L, R Expr
}

// And, Or and Not treat null as false; And and Or do not evaluate R if L decides.
type (
	And struct{ L, R Expr }
	Or  struct{ L, R Expr }
	Not struct{ X Expr }
)

// IsNull is `x is null`.
type IsNull struct{ X Expr }

// JoinTexts is the function of a Call that joins the texts of its arguments, as `+` does.
const JoinTexts = "+"

// Call is a call of a scalar function, by its exact name. T holds the target type of
// convert and cast, which is not among the arguments.
type Call struct {
	Func string
	Args []Expr
	T    event.Type
	Held event.Type // differs from T only after cast
}

// AggResult is the value of aggregator Index of the query.
type AggResult struct {
	Index int
	T     event.Type
}

func (e *Const) Type() event.Type     { return e.T }
func (e *Attr) Type() event.Type      { return e.Attr.Type }
func (e *Arith) Type() event.Type     { return e.T }
func (e *Compare) Type() event.Type   { return event.Bool }
func (e *And) Type() event.Type       { return event.Bool }
func (e *Or) Type() event.Type        { return event.Bool }
func (e *Not) Type() event.Type       { return event.Bool }
func (e *IsNull) Type() event.Type    { return event.Bool }
func (e *Call) Type() event.Type      { return e.T }
func (e *AggResult) Type() event.Type { return e.T }

func (e *Const) Holds() event.Type     { return e.T }
func (e *Attr) Holds() event.Type      { return e.Attr.Holds() }
func (e *Arith) Holds() event.Type     { return e.T }
func (e *Compare) Holds() event.Type   { return event.Bool }
func (e *And) Holds() event.Type       { return event.Bool }
func (e *Or) Holds() event.Type        { return event.Bool }
func (e *Not) Holds() event.Type       { return event.Bool }
func (e *IsNull) Holds() event.Type    { return event.Bool }
func (e *AggResult) Holds() event.Type { return e.T }

func (e *Call) Holds() event.Type {
	if e.Held != 0 {
		return e.Held
	}
	return e.T
}

// JSON reports whether the stream's events are JSON.
func (s *Stream) JSON() bool { return s.Text == nil && s.Proto == nil && s.Avro == nil }

// SameMap reports whether two streams of equal definitions read messages in the same way.
func (s *Stream) SameMap(o *Stream) bool {
	return reflect.DeepEqual(s.Map, o.Map) && reflect.DeepEqual(s.Text, o.Text) && reflect.DeepEqual(s.Proto, o.Proto) && reflect.DeepEqual(s.Avro, o.Avro)
}
