package engine

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// definition is a component with the part of the app that gives its entries their meaning.
type definition struct {
	Component
	role  string // after the last / of the id
	query *query // nil: it belongs to none
	block *block // of a list of partition keys, or nil
	// exact is the meaning of the entries: entries of equal definitions are interchangeable.
	exact string
	// text is the definition for people.
	text string
}

// definitions returns the definitions of an engine's components, in the order of loading. A
// kind of component that it does not know is defined by everything that it could depend on,
// so that a changed one is refused and never misread.
func (e *Engine) definitions() []definition {
	byName := map[string]*query{}
	for i, name := range queryNames(e.plan) {
		byName[name] = e.queries[i]
	}
	named := map[string]*query{}
	for _, w := range e.named {
		named[w.stateID()] = w.q
	}
	byBlock := map[string]*block{}
	for _, b := range e.blocks {
		byBlock[b.stateID()] = b
	}
	var list []definition
	for _, c := range e.Components() {
		d := definition{Component: c, block: byBlock[c.ID]}
		owner, role, _ := cutLast(c.ID)
		d.role = role
		switch q := byName[owner]; {
		case c.Type == "clock", c.Type == "reorder":
		case named[c.ID] != nil:
			d.query, d.role = named[c.ID], "window"
			d.exact, d.text = queryDefinition(d.query, c, d.role)
		case tableOf(c.Source) != nil:
			d.exact = tableOf(c.Source).String()
			d.text = d.exact
		case d.block != nil:
			d.exact, d.text = keysDefinition(d.block)
		case c.Type == triggerType:
			d.exact, d.text = c.Source.(triggerSource).definition()
		case q == nil:
			d.exact = fingerprint(withoutQueries(e.plan))
			d.text = c.ID
		default:
			d.query = q
			d.exact, d.text = queryDefinition(q, c, role)
		}
		list = append(list, d)
	}
	return list
}

func cutLast(id string) (before, after string, found bool) {
	if i := strings.LastIndexByte(id, '/'); i >= 0 {
		return id[:i], id[i+1:], true
	}
	return id, "", false
}

// withoutQueries returns the parts of a plan that are no streams, queries or blocks.
func withoutQueries(p *siddhiql.Plan) *siddhiql.Plan {
	rest := *p
	rest.Digest, rest.Streams, rest.Queries, rest.Blocks, rest.Triggers = "", nil, nil, nil, nil
	rest.Tables, rest.Windows = nil, nil
	rest.Lateness, rest.Ahead, rest.Idle, rest.Increment = 0, 0, 0, 0
	return &rest
}

func queryDefinition(q *query, c Component, role string) (exact, text string) {
	switch {
	case !plain(q.plan):
		return fingerprint(q.plan) + c.Type + kindsText(q.plan), q.plan.Text
	case role == "window":
		text = windowText(q)
		return fmt.Sprint(text, " of ", q.plan.Source.Name, storedText(q), q.plan.Expired, q.plan.Block < 0), text
	case role == "aggregate":
		exact = fmt.Sprint(filterText(q.plan), groupText(q.plan), q.plan.Window != nil)
		for i := range q.plan.Aggs {
			exact += ";" + aggText(q.plan, i)
		}
		return exact, strings.Join(aggTexts(q.plan), ", ") + groupText(q.plan)
	}
	return fingerprint(q.plan) + c.Type, q.plan.Text
}

// kindsText tells which rows the named windows put out that a query reads.
func kindsText(q *siddhiql.Query) (text string) {
	for _, s := range q.Reads() {
		if w := s.Window; w != nil {
			text += fmt.Sprint(" ", s.Name, w.Current, w.Expired)
		}
	}
	return text
}

// windowText writes the window as the app does, with the names of attributes.
func windowText(q *query) string {
	w := q.plan.Window
	params := make([]string, len(w.Params))
	for i, p := range w.Params {
		params[i] = paramText(p, q.plan.In)
	}
	return w.Name + "(" + strings.Join(params, ", ") + ")"
}

func paramText(p window.Param, s *event.Schema) string {
	switch {
	case !p.Constant():
		return s.Attrs[p.Attr].Name
	case p.Time:
		return fmt.Sprintf("%d ms", p.Int)
	case p.Type.Class() == event.Texts:
		return strconv.Quote(p.Text)
	case p.Type.Class() == event.Reals:
		return fmt.Sprint(p.Real)
	case p.Type == event.Bool:
		return strconv.FormatBool(p.Int != 0)
	}
	return strconv.FormatInt(p.Int, 10)
}

// storedText lists the attributes that the window keeps.
func storedText(q *query) string {
	names := make([]string, len(q.used))
	for i, a := range q.used {
		attr := q.plan.In.Attrs[a]
		names[i] = attr.Name + " " + attr.Holds().String()
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// filterText is the filter between the window and the aggregators.
func filterText(q *siddhiql.Query) string {
	if q.Window == nil {
		return ""
	}
	return namedText(q.After, q.In)
}

func groupText(q *siddhiql.Query) string {
	if len(q.GroupBy) == 0 {
		return ""
	}
	names := make([]string, len(q.GroupBy))
	for i, a := range q.GroupBy {
		names[i] = q.In.Attrs[a].Name
	}
	return " group by " + strings.Join(names, ", ")
}

// groupClasses is what the keys of groups are made of.
func groupClasses(q *siddhiql.Query) string {
	var b strings.Builder
	for _, a := range q.GroupBy {
		fmt.Fprint(&b, q.In.Attrs[a].Holds().Class(), " ")
	}
	return b.String()
}

func aggTexts(q *siddhiql.Query) []string {
	texts := make([]string, len(q.Aggs))
	for i := range q.Aggs {
		texts[i] = q.Aggs[i].Name + "()"
		for n, x := range q.Select {
			if a, ok := x.(*siddhiql.AggResult); ok && a.Index == i {
				texts[i] += " as " + q.Output.Attrs[n].Name
				break
			}
		}
	}
	return texts
}

// aggText is an aggregator with its arguments and the classes of their values.
func aggText(q *siddhiql.Query, i int) string {
	a := &q.Aggs[i]
	classes := make([]string, len(a.Args))
	for n, x := range a.Args {
		classes[n] = fmt.Sprint(x.Holds().Class())
	}
	return a.Name + namedText(a.Args, q.In) + strings.Join(classes, ",")
}

// namedText writes expressions so that it does not matter where in a schema an attribute
// stands, or which integer or real type it has.
func namedText(list []siddhiql.Expr, s *event.Schema) string {
	f := printer{attrs: s}
	f.value(reflect.ValueOf(list))
	return f.b.String()
}

// keysDefinition is what the list of a block's keys depends on.
func keysDefinition(b *block) (exact, text string) {
	keys := b.e.plan.Blocks[b.id].Keys
	texts := make([]string, len(keys))
	exacts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = k.Text
		exacts[i] = k.Text + keyClass(k)
	}
	slices.Sort(exacts)
	return strings.Join(exacts, "; "), "partition with (" + strings.Join(texts, ", ") + ")"
}

// keyClass tells apart keys whose texts differ for the same event.
func keyClass(k siddhiql.PartitionKey) string {
	if k.Value == nil {
		return ""
	}
	return fmt.Sprint(" as ", k.Value.Holds().Class())
}

// plain reports whether a query has only the parts that the engine can keep in memory while
// its plan changes. The state of others is moved through its entries.
func plain(q *siddhiql.Query) bool {
	known := siddhiql.Query{
		ID: q.ID, Name: q.Name, Was: q.Was, StateName: q.StateName, Text: q.Text, Block: q.Block,
		Source: q.Source, Before: q.Before, Window: q.Window, After: q.After, Aggs: q.Aggs, Select: q.Select,
		GroupBy: q.GroupBy, Having: q.Having, OrderBy: q.OrderBy, Limit: q.Limit, Offset: q.Offset,
		In: q.In, Current: q.Current, Expired: q.Expired, Target: q.Target, Output: q.Output, StarOnly: q.StarOnly, Pos: q.Pos,
	}
	return reflect.DeepEqual(known, *q) && (q.Source == nil || q.Source.Window == nil)
}

// fingerprint writes all of a part of a plan except positions, numbers and names of queries.
func fingerprint(v any) string {
	var f printer
	f.value(reflect.ValueOf(v))
	return f.b.String()
}

// printer writes values by reflection, so that a part of the language that is added later is
// never left out.
type printer struct {
	b     strings.Builder
	attrs *event.Schema // expressions have names of its attributes, and classes of types
	open  []uintptr     // pointers that are being written
}

// skipped are the fields that change nothing in what a query does.
var skipped = []string{"ID", "Pos", "Name", "Was", "StateName", "Text"}

func (f *printer) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		f.pointer(v)
	case reflect.Interface:
		if !v.IsNil() {
			f.b.WriteString(v.Elem().Type().String())
			f.value(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		f.b.WriteByte('[')
		for i := range v.Len() {
			f.value(v.Index(i))
			f.b.WriteByte(' ')
		}
		f.b.WriteByte(']')
	case reflect.Struct:
		f.fields(v)
	case reflect.String:
		f.b.WriteString(strconv.Quote(v.String()))
	case reflect.Map:
		f.entries(v)
	case reflect.Func, reflect.Chan:
		f.b.WriteString(v.Type().String()) // the parts of a plan that describe it stand beside it
	default:
		fmt.Fprint(&f.b, v)
	}
}

func (f *printer) pointer(v reflect.Value) {
	if v.IsNil() {
		f.b.WriteByte('-')
		return
	}
	var whole any
	if v.CanInterface() {
		whole = v.Interface()
	}
	switch x := whole.(type) {
	case *siddhiql.Stream:
		fmt.Fprintf(&f.b, "%s#%v", x.Schema, x.Block >= 0)
		return
	case *siddhiql.Attr:
		if f.attrs != nil {
			fmt.Fprint(&f.b, f.attrs.Attrs[x.Index].Name)
			return
		}
	}
	at := v.Pointer()
	if slices.Contains(f.open, at) {
		f.b.WriteByte('^')
		return
	}
	f.open = append(f.open, at)
	f.value(v.Elem())
	f.open = f.open[:len(f.open)-1]
}

func (f *printer) entries(v reflect.Value) {
	var list []string
	for _, key := range v.MapKeys() {
		entry := printer{attrs: f.attrs, open: f.open}
		entry.value(key)
		entry.b.WriteByte(':')
		entry.value(v.MapIndex(key))
		list = append(list, entry.b.String())
	}
	slices.Sort(list)
	f.b.WriteString(strings.Join(list, " "))
}

func (f *printer) fields(v reflect.Value) {
	t := v.Type()
	whole := t == reflect.TypeFor[siddhiql.Query]()
	f.b.WriteByte('{')
	for i := range v.NumField() {
		name := t.Field(i).Name
		switch {
		case whole && slices.Contains(skipped, name), name == "Pos":
			continue
		case f.attrs != nil && t.Field(i).Type == reflect.TypeFor[event.Type]():
			fmt.Fprint(&f.b, event.Type(v.Field(i).Uint()).Class(), " ")
			continue
		}
		f.value(v.Field(i))
		f.b.WriteByte(' ')
	}
	f.b.WriteByte('}')
}
