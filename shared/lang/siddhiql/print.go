package siddhiql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// String returns the app as text in its normal form. Parse reads that back to the same
// tree, except for positions. Comments are not kept.
func (a *App) String() string {
	p := &printer{}
	for _, n := range a.Annotations {
		p.annotation(n)
	}
	for _, s := range a.Streams {
		p.annotations(s.Annotations)
		p.write("define stream ")
		s.printAttrs(p)
		p.write(";\n")
	}
	for _, d := range a.Tables {
		d.print(p)
		p.write(";\n")
	}
	for _, d := range a.Windows {
		d.print(p)
		p.write(";\n")
	}
	for _, d := range a.Triggers {
		d.print(p)
		p.write(";\n")
	}
	for _, e := range a.Elements {
		e.print(p)
		p.write(";\n")
	}
	return p.b.String()
}

// printAttrs writes the name and the attributes of a definition.
func (d *StreamDef) printAttrs(p *printer) {
	p.write(quoteName(d.Name.Text), " (")
	for i, attr := range d.Attrs {
		p.separate(i, ", ")
		p.write(quoteName(attr.Name.Text), " ", attr.Type.String())
	}
	p.write(")")
}

// textOf returns an expression as text in its normal form.
func textOf(n Node) string {
	p := &printer{}
	n.print(p)
	return p.b.String()
}

type printer struct {
	b      strings.Builder
	indent string
}

func (p *printer) write(parts ...string) {
	for _, s := range parts {
		p.b.WriteString(s)
	}
}

func (p *printer) line(parts ...string) {
	p.write("\n", p.indent)
	p.write(parts...)
}

func (p *printer) separate(i int, sep string) {
	if i > 0 {
		p.write(sep)
	}
}

func (p *printer) annotations(list []*Annotation) {
	for _, a := range list {
		p.annotation(a)
	}
}

func (p *printer) annotation(a *Annotation) {
	a.print(p)
	p.line()
}

func (a *Annotation) print(p *printer) {
	p.write("@")
	for i, part := range strings.Split(a.Name, ":") {
		p.separate(i, ":")
		p.write(quoteName(part))
	}
	if len(a.Elems) == 0 {
		return
	}
	p.write("(")
	for i, e := range a.Elems {
		p.separate(i, ", ")
		switch {
		case e.Nested != nil:
			e.Nested.print(p)
			continue
		case e.Key != "" && isPlainKey(e.Key):
			p.write(e.Key, "=")
		case e.Key != "":
			p.write(quoteString(e.Key), "=")
		}
		p.write(quoteString(e.Value))
	}
	p.write(")")
}

func (r StreamRef) print(p *printer) {
	p.write(r.sign(), quoteName(r.Name))
}

func (q *QueryDef) print(p *printer) {
	p.annotations(q.Annotations)
	p.write("from ")
	q.Input.print(p)
	q.printSelection(p)
	if q.Rate != nil {
		q.Rate.print(p)
	}
	if q.Write != nil {
		q.printChange(p)
		return
	}
	p.line("insert ", [...]string{CurrentEvents: "", ExpiredEvents: "expired events ", AllEvents: "all events "}[q.Events], "into ")
	q.Target.print(p)
}

func (in *StreamInput) print(p *printer) {
	in.Source.print(p)
	for _, h := range in.Handlers {
		h.print(p)
	}
}

// text returns the query in its normal form, without annotations.
func (q *QueryDef) text() string {
	plain := *q
	plain.Annotations = nil
	p := &printer{}
	plain.print(p)
	return p.b.String()
}

func (q *QueryDef) printSelection(p *printer) {
	p.line("select ")
	if len(q.Items) == 0 {
		p.write("*")
	}
	for i, item := range q.Items {
		p.separate(i, ", ")
		item.Expr.print(p)
		if item.As.Text != "" {
			p.write(" as ", quoteName(item.As.Text))
		}
	}
	for i, r := range q.GroupBy {
		p.clause(i, "group by ")
		r.print(p)
	}
	if q.Having != nil {
		p.line("having ")
		q.Having.print(p)
	}
	for i, o := range q.OrderBy {
		p.clause(i, "order by ")
		o.Attr.print(p)
		if o.Desc {
			p.write(" desc")
		}
	}
	if q.Limit != nil {
		p.line("limit ")
		q.Limit.print(p)
	}
	if q.Offset != nil {
		p.line("offset ")
		q.Offset.print(p)
	}
}

// clause starts a clause with its first element and separates the others.
func (p *printer) clause(i int, keyword string) {
	if i == 0 {
		p.line(keyword)
		return
	}
	p.write(", ")
}

func (h *Handler) print(p *printer) {
	if h.Filter != nil {
		p.write("[")
		h.Filter.print(p)
		p.write("]")
		return
	}
	if h.Function {
		p.write("#")
	} else {
		p.write(windowSign(h.Window))
	}
	h.printCall(p)
}

func (h *Handler) printCall(p *printer) {
	p.write(quoteQualified(h.Window), "(")
	p.nodes(h.Params)
	p.write(")")
}

func (d *PartitionDef) print(p *printer) {
	p.annotations(d.Annotations)
	p.write("partition with (")
	for i, k := range d.Keys {
		p.separate(i, ", ")
		k.print(p)
	}
	p.write(")\nbegin")
	outer := p.indent
	p.indent += "  "
	for _, q := range d.Queries {
		p.line()
		q.print(p)
		p.write(";")
	}
	p.indent = outer
	p.line("end")
}

func (k *KeyDef) print(p *printer) {
	if k.Value != nil {
		k.Value.print(p)
	}
	for i, r := range k.Ranges {
		p.separate(i, " or ")
		r.Cond.print(p)
		p.write(" as ", quoteString(r.Label))
	}
	p.write(" of ")
	k.Stream.print(p)
}

func (k *KeyDef) text() string {
	p := &printer{}
	k.print(p)
	return p.b.String()
}

func (p *printer) nodes(list []Node) {
	for i, n := range list {
		p.separate(i, ", ")
		n.print(p)
	}
}

func (n *Literal) print(p *printer) { p.write(literalText(n)) }

func (n *Ref) print(p *printer) {
	if n.Stream != "" {
		StreamRef{Inner: n.Inner, Name: n.Stream}.print(p)
		if n.Index.print(p); n.Name == "" {
			return
		}
		p.write(".")
	}
	p.write(quoteName(n.Name))
}

func (n *Binary) print(p *printer) {
	p.operand(n.L, n.Op.precedence())
	p.write(" ", n.Op.String(), " ")
	p.operand(n.R, n.Op.precedence()+1)
}

func (n *Negation) print(p *printer) {
	p.write("not ")
	p.operand(n.X, precedenceNot)
}

func (n *NullTest) print(p *printer) {
	n.X.print(p)
	p.write(" is null")
}

func (n *Func) print(p *printer) {
	name := quoteName(n.Name)
	if n.Namespace != "" {
		p.write(quoteName(n.Namespace), ":")
		if isPlainName(n.Name) {
			name = n.Name // no clause can start here
		}
	}
	p.write(name, "(")
	if n.Star {
		p.write("*")
	}
	p.nodes(n.Args)
	p.write(")")
}

// operand prints n, in parentheses if it binds looser than precedence.
func (p *printer) operand(n Node, precedence int) {
	if nodePrecedence(n) >= precedence {
		n.print(p)
		return
	}
	p.write("(")
	n.print(p)
	p.write(")")
}

func nodePrecedence(n Node) int {
	switch n := n.(type) {
	case *Binary:
		return n.Op.precedence()
	case *Negation:
		return precedenceNot
	case *InTable:
		return OpEqual.precedence()
	default:
		return precedencePrimary
	}
}

// quoteName writes a name so that it is read as one wherever a name can appear.
func quoteName(name string) string {
	if isPlainName(name) && !isReserved(name) {
		return name
	}
	return "`" + name + "`"
}

// quoteString writes a string in the plainest quotes that can hold it.
func quoteString(s string) string {
	switch {
	case !strings.ContainsAny(s, "'\"\n"):
		return "'" + s + "'"
	case !strings.ContainsAny(s, "\"\n"):
		return `"` + s + `"`
	default:
		return `"""` + s + `"""`
	}
}

func isPlainName(s string) bool {
	return s != "" && isLetter(s[0]) && wordLength(s) == len(s)
}

func isPlainKey(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !isPlainName(part) {
			return false
		}
	}
	return true
}

func literalText(n *Literal) string {
	switch {
	case n.Time:
		return durationText(n.Int)
	case n.Type.Numeric():
		return numberText(n)
	case n.Type == event.Bool:
		return strconv.FormatBool(n.Int != 0)
	default:
		return quoteString(n.Text)
	}
}

// durationText writes ms in falling units, as a time literal has them.
func durationText(ms int64) string {
	if ms == 0 {
		return "0 millisec"
	}
	var parts []string
	for _, u := range timeUnits {
		if n := ms / u.ms; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			ms -= n * u.ms
		}
	}
	return strings.Join(parts, " ")
}

// windowSign is what stands before the name of a window. A handler with a namespace that is not
// a window has no `window.` there.
func windowSign(name string) string {
	if name == deduplicate {
		return "#"
	}
	return "#window."
}

// quoteQualified writes a name that may have a namespace.
func quoteQualified(name string) string {
	namespace, rest, ok := strings.Cut(name, ":")
	if !ok {
		return quoteName(name)
	}
	return quoteName(namespace) + ":" + quoteName(rest)
}
