package model

import (
	"fmt"
	"slices"
	"strings"
)

var (
	scalarTypes  = []string{"int", "long", "double", "float", "string", "bool"}
	numericTypes = []string{"int", "long", "float", "double"} // in order of width
)

// exprs generates expressions over the attributes of one row.
type exprs struct {
	*generator
	attrs []genAttr
	time  bool   // eventTimestamp and currentTimeMillis may be used
	in    bool   // conditions may look into tables
	from  string // the stream whose name may qualify attributes
}

// ref writes an attribute.
func (e *exprs) ref(a genAttr) string {
	if e.from != "" && e.chance("stream name", 10) {
		return strings.TrimPrefix(e.from, "!") + "." + a.name
	}
	return a.name
}

// cast widens a number in the plan only: its value does not change.
func (e *exprs) cast() (text, typ string) {
	var list []genAttr
	for _, a := range e.attrs {
		if !a.cast && (a.typ == "int" || a.typ == "long" || a.typ == "float") {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return "cast(1, 'double')", "double"
	}
	a := pick(e.generator, "attr", list...)
	wider := numericTypes[slices.Index(numericTypes, a.typ)+1:]
	typ = pick(e.generator, "to", wider...)
	return fmt.Sprintf("cast(%s, '%s')", e.ref(a), typ), typ
}

// plain returns the attributes that are not objects.
func (e *exprs) plain() []genAttr {
	var list []genAttr
	for _, a := range e.attrs {
		if a.typ != "object" {
			list = append(list, a)
		}
	}
	return list
}

// of generates an expression of the type; exact reports whether its values may be summed.
func (e *exprs) of(typ string, depth int) (text string, exact bool) {
	if typ == "bool" {
		return "(" + e.condition(depth) + ")", true
	}
	forms := []string{"attr", "attr", "literal"}
	if depth > 0 {
		forms = append(forms, "function", "function")
		if typ != "string" {
			forms = append(forms, "arithmetic", "arithmetic")
		}
		if typ == "long" && e.time {
			forms = append(forms, "time")
		}
	}
	switch pick(e.generator, "form", forms...) {
	case "literal":
		return e.literal(typ), true
	case "arithmetic":
		return e.arithmetic(typ, depth)
	case "function":
		return e.function(typ, depth)
	case "time":
		return pick(e.generator, "time", "eventTimestamp()", "currentTimeMillis()"), true
	default:
		return e.attr(typ)
	}
}

// attr returns an attribute of the type, or a literal if there is none.
func (e *exprs) attr(typ string) (string, bool) {
	var list []genAttr
	for _, a := range e.attrs {
		if a.typ == typ && !a.cast {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return e.literal(typ), true
	}
	a := pick(e.generator, "attr", list...)
	return e.ref(a), a.exact
}

func (e *exprs) literal(typ string) string {
	n := e.between("literal", 0, 5)
	switch typ {
	case "long":
		return fmt.Sprintf("%dL", n)
	case "float":
		return fmt.Sprintf("%d.25f", n)
	case "double":
		return fmt.Sprintf("%d.5", n)
	case "string":
		return []string{"'a'", "'b'", `"c"`, "'null'", "'1'", "''"}[n]
	case "bool":
		return []string{"true", "false"}[n%2]
	default:
		return fmt.Sprint(n)
	}
}

// arithmetic generates an operation: one operand has the type, the other is no wider.
func (e *exprs) arithmetic(typ string, depth int) (string, bool) {
	var narrower []string
	for _, n := range numericTypes {
		narrower = append(narrower, n)
		if n == typ {
			break
		}
	}
	other := pick(e.generator, "other side", narrower...)
	l, lExact := e.of(typ, depth-1)
	r, rExact := e.of(other, depth-1)
	if e.chance("swap", 50) {
		l, r = r, l
	}
	op := pick(e.generator, "operator", "+", "-", "*", "%", "/")
	whole := typ == "int" || typ == "long"
	return fmt.Sprintf("(%s %s %s)", l, op, r), lExact && rExact && (whole || op != "/")
}

func (e *exprs) function(typ string, depth int) (string, bool) {
	forms := []string{"ifThenElse", "coalesce", "default", "convert"}
	if typ != "string" {
		forms = append(forms, "maximum", "minimum")
	}
	l, lExact := e.of(typ, depth-1)
	r, rExact := e.of(typ, depth-1)
	switch f := pick(e.generator, "function", forms...); f {
	case "ifThenElse":
		return fmt.Sprintf("ifThenElse(%s, %s, %s)", e.condition(depth-1), l, r), lExact && rExact
	case "default":
		a, exact := e.attr(typ)
		return fmt.Sprintf("default(%s, %s)", a, e.literal(typ)), exact
	case "convert":
		from := pick(e.generator, "from", scalarTypes...)
		text, exact := e.of(from, depth-1)
		return fmt.Sprintf("convert(%s, '%s')", text, typ), exact
	default:
		return fmt.Sprintf("%s(%s, %s)", f, l, r), lExact && rExact
	}
}

// condition generates a bool expression.
func (e *exprs) condition(depth int) string {
	forms := []string{"compare", "compare", "compare", "null", "attr"}
	if depth > 0 {
		forms = append(forms, "and", "or", "not", "class")
	}
	if e.in && len(e.tables) > 0 {
		forms = append(forms, "in", "in")
	}
	switch pick(e.generator, "condition", forms...) {
	case "in":
		return e.inTable()
	case "null":
		return e.ref(pick(e.generator, "attr", e.attrs...)) + " is null"
	case "attr":
		text, _ := e.attr("bool")
		return text
	case "and":
		return fmt.Sprintf("(%s and %s)", e.condition(depth-1), e.condition(depth-1))
	case "or":
		return fmt.Sprintf("(%s or %s)", e.condition(depth-1), e.condition(depth-1))
	case "not":
		return fmt.Sprintf("not (%s)", e.condition(depth-1))
	case "class":
		class := pick(e.generator, "class", "Integer", "Long", "Double", "Float", "String", "Boolean")
		return fmt.Sprintf("instanceOf%s(%s)", class, pick(e.generator, "attr", append(e.plain(), genAttr{name: "1"})...).name)
	default:
		return e.comparison(depth)
	}
}

func (e *exprs) comparison(depth int) string {
	typ := pick(e.generator, "compared", scalarTypes...)
	ops := []string{"==", "!="}
	other := typ
	if typ != "string" && typ != "bool" {
		ops = append(ops, "<", "<=", ">", ">=")
		other = pick(e.generator, "with", numericTypes...)
	}
	depth = max(depth-1, 0)
	l, _ := e.operand(typ, depth)
	r, _ := e.operand(other, depth)
	return strings.Join([]string{l, pick(e.generator, "comparison", ops...), r}, " ")
}

// operand keeps conditions on bools flat.
func (e *exprs) operand(typ string, depth int) (string, bool) {
	if typ == "bool" {
		return e.attr("bool")
	}
	if typ != "string" && e.chance("cast", 8) {
		text, _ := e.cast()
		return text, false
	}
	return e.of(typ, depth)
}
