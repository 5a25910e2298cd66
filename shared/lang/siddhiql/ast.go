package siddhiql

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/ratelimit"
)

// App is the syntax tree of an app's text. Check resolves its names.
type App struct {
	Annotations []*Annotation // those of the app: @app:…
	Streams     []*StreamDef
	Tables      []*TableDef
	Windows     []*NamedWindowDef
	Triggers    []*TriggerDef
	Elements    []Element // queries and partitions, in the order written
}

// Element is a *QueryDef or a *PartitionDef.
type Element interface{ print(p *printer) }

// Annotation is @name(elem, …). Names may be in upper or lower case.
type Annotation struct {
	Pos   Pos
	Name  string // such as "app:name" or "info"
	Elems []*AnnotationElem
}

// AnnotationElem is 'value', key='value', or an annotation inside another.
type AnnotationElem struct {
	Pos    Pos
	Key    string // "" if there is none
	Value  string
	Nested *Annotation
}

// Name is a name and its position.
type Name struct {
	Pos  Pos
	Text string
}

// StreamDef is a `define stream`.
type StreamDef struct {
	Pos         Pos
	Annotations []*Annotation
	Name        Name
	Attrs       []AttrDef
}

// AttrDef is one attribute of a definition.
type AttrDef struct {
	Name Name
	Type event.Type
}

// StreamRef names a stream. Inner means a partition's own stream, #name. Fault means the
// stream of the events of name that could not be applied, !name.
type StreamRef struct {
	Pos   Pos
	Inner bool
	Fault bool
	Name  string
}

func (r StreamRef) String() string { return r.sign() + r.Name }

func (r StreamRef) sign() string {
	switch {
	case r.Inner:
		return "#"
	case r.Fault:
		return faultSign
	}
	return ""
}

// QueryDef is a `from … select … insert into …`.
type QueryDef struct {
	Pos         Pos
	Annotations []*Annotation
	Input       Input
	Items       []*Item // none: select *
	GroupBy     []*Ref
	Having      Node // nil: none, as in Limit and Offset
	OrderBy     []*OrderItem
	Limit       Node
	Offset      Node
	Rate        *RateDef // nil: rows come out at once
	Events      Events
	Write       *WriteDef // nil: the rows are inserted into Target
	Target      StreamRef
}

// Input is what a query reads: a *StreamInput, a *JoinInput or a *PatternInput.
type Input interface {
	// Sources returns the streams, tables and windows that the input names, in the order
	// written.
	Sources() []StreamRef
	print(p *printer)
}

// StreamInput reads one stream.
type StreamInput struct {
	Source   StreamRef
	Handlers []*Handler
}

// JoinInput reads two sources together.
type JoinInput struct {
	Left, Right *JoinSide
	Type        JoinType
	Pos         Pos  // of the words between the sides
	On          Node // nil: every pair
}

// JoinSide is one source of a join.
type JoinSide struct {
	StreamInput
	As             Name // Text is "" without an alias
	Unidirectional bool
}

// JoinType says which side's rows come out without a match.
type JoinType uint8

// The joins.
const (
	InnerJoin JoinType = iota
	LeftOuterJoin
	RightOuterJoin
	FullOuterJoin
)

// RateDef is an `output … every …`.
type RateDef struct {
	Pos    Pos
	Which  ratelimit.Which
	Every  *Literal // a number of events, or a time
	Events bool     // Every is a number of events
}

// WriteDef says how the rows of a query change a table, instead of an insert.
type WriteDef struct {
	Pos  Pos
	Kind WriteKind
	Set  []*SetDef // none: all attributes
	On   Node
}

// WriteKind is what is done with the rows of a table that meet a condition.
type WriteKind uint8

// The ways to change a table.
const (
	Update WriteKind = iota
	UpdateOrInsert
	Delete
)

// SetDef is one `T.attr = value` of an update.
type SetDef struct {
	Attr  *Ref
	Value Node
}

// TableDef is a `define table`.
type TableDef struct {
	StreamDef
}

// NamedWindowDef is a `define window`.
type NamedWindowDef struct {
	StreamDef
	Window *Handler
	Output Events
}

// TriggerDef is a `define trigger`. It fires at the start, or every so often, or as a cron
// text says.
type TriggerDef struct {
	Pos   Pos
	Name  Name
	Every *Literal // a time; nil: At says when
	At    *Literal // 'start' or a cron text
}

// Sources implements Input.
func (in *StreamInput) Sources() []StreamRef { return []StreamRef{in.Source} }

// Sources implements Input.
func (in *JoinInput) Sources() []StreamRef { return []StreamRef{in.Left.Source, in.Right.Source} }

// Events says which events a query inserts.
type Events uint8

// The events that a query can insert.
const (
	CurrentEvents Events = iota
	ExpiredEvents
	AllEvents
)

// Handler is a filter, or a window or a stream function: then Filter is nil.
type Handler struct {
	Pos      Pos
	Filter   Node
	Window   string // or the name of the stream function
	Function bool
	Params   []Node
}

// Item is one value of a select; As.Text is "" for an attribute that keeps its name.
type Item struct {
	Expr Node
	As   Name
}

// OrderItem is one attribute of order by.
type OrderItem struct {
	Attr *Ref
	Desc bool
}

// PartitionDef is a `partition with (…) begin … end`.
type PartitionDef struct {
	Pos         Pos
	Annotations []*Annotation
	Keys        []*KeyDef
	Queries     []*QueryDef
}

// KeyDef is `value of stream` or, with Ranges, `cond as 'label' or … of stream`.
type KeyDef struct {
	Pos    Pos
	Value  Node
	Ranges []*RangeDef
	Stream StreamRef // never an inner one
}

// RangeDef is one `cond as 'label'`.
type RangeDef struct {
	Cond  Node
	Label string
}

// Node is an expression as written: a *Literal, *Ref, *Binary, *Negation,
// *NullTest or *Func.
type Node interface {
	// At is where the expression starts; for a Binary, where its operator is.
	At() Pos
	print(p *printer)
}

// Literal is a constant. Bools are 0 or 1 in Int; a Float is rounded to 32 bits.
type Literal struct {
	Pos  Pos
	Type event.Type
	Time bool // a time literal: Type is Long, Int has its ms
	Int  int64
	Real float64
	Text string
}

// Ref names an attribute, and perhaps the stream that has it.
type Ref struct {
	Pos    Pos
	Inner  bool   // of #Stream
	Stream string // "" if only the name is written
	Index  *RefIndex
	Name   string
}

// RefIndex says which event of a pattern's step a Ref means: event N, or N before the last.
type RefIndex struct {
	Last bool
	N    int
}

// Binary is L Op R.
type Binary struct {
	Pos  Pos
	Op   BinaryOp
	L, R Node
}

// Negation is `not X`.
type Negation struct {
	Pos Pos
	X   Node
}

// NullTest is `X is null`; X is a *Ref or a *Func.
type NullTest struct {
	Pos Pos
	X   Node
}

// Func is a call of a scalar function or an aggregator.
type Func struct {
	Pos       Pos
	Namespace string // "" if there is none
	Name      string
	Star      bool // count(*): then there are no Args
	Args      []Node
}

// full returns the name with its namespace, as in str:upper.
func (n *Func) full() string {
	if n.Namespace == "" {
		return n.Name
	}
	return n.Namespace + ":" + n.Name
}

func (n *Literal) At() Pos  { return n.Pos }
func (n *Ref) At() Pos      { return n.Pos }
func (n *Binary) At() Pos   { return n.Pos }
func (n *Negation) At() Pos { return n.Pos }
func (n *NullTest) At() Pos { return n.Pos }
func (n *Func) At() Pos     { return n.Pos }

// BinaryOp is an operator between two values.
type BinaryOp uint8

// The operators, loosest first.
const (
	OpOr BinaryOp = iota + 1
	OpAnd
	OpEqual
	OpNotEqual
	OpLess
	OpLessEqual
	OpGreater
	OpGreaterEqual
	OpAdd
	OpSubtract
	OpMultiply
	OpDivide
	OpModulo
)

// binaryOps gives each operator its text and how tightly it binds.
var binaryOps = [...]struct {
	text       string
	precedence int
}{
	OpOr:           {"or", 1},
	OpAnd:          {"and", 2},
	OpEqual:        {"==", 3},
	OpNotEqual:     {"!=", 3},
	OpLess:         {"<", 4},
	OpLessEqual:    {"<=", 4},
	OpGreater:      {">", 4},
	OpGreaterEqual: {">=", 4},
	OpAdd:          {"+", 5},
	OpSubtract:     {"-", 5},
	OpMultiply:     {"*", 6},
	OpDivide:       {"/", 6},
	OpModulo:       {"%", 6},
}

// The precedence of what binds tighter than all binary operators.
const (
	precedenceNot     = 7
	precedencePrimary = 8
)

func (o BinaryOp) String() string { return binaryOps[o].text }

func (o BinaryOp) precedence() int { return binaryOps[o].precedence }
