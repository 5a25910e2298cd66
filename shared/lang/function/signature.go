package function

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// signature is one form of a call.
type signature struct {
	text     string
	name     string
	params   []param
	required int  // parameters that must be there
	repeats  bool // the last parameter may come again
	result   event.Type
}

// param is a parameter: its name, and the types that it takes.
type param struct{ name, kind string }

// kinds are the types of parameters. A function reads an argument of type double as one
// whatever number it is, and a text as the value's text.
var kinds = map[string]struct {
	takes func(event.Type) bool
	read  event.Type // 0: as it is
	what  string
}{
	"string": {is(event.String), 0, "a string"},
	"int":    {is(event.Int, event.Long), 0, "an int"},
	"long":   {is(event.Int, event.Long), 0, "a long"},
	"double": {event.Type.Numeric, event.Double, "a number"},
	"number": {event.Type.Numeric, 0, "a number"},
	"bool":   {is(event.Bool), 0, "a bool"},
	"object": {is(event.Object), 0, "an object"},
	"json":   {is(event.String, event.Object), 0, "a string with JSON or an object"},
	"text":   {event.Type.Valid, event.String, "a value"},
	"any":    {event.Type.Valid, 0, "a value"},
}

func is(types ...event.Type) func(event.Type) bool {
	return func(t event.Type) bool { return slices.Contains(types, t) }
}

// parseSignature reads "ns:name(a type, b type[, c type], …) type": parameters in brackets
// may be left out, and the one before "…" may come any number of times.
func parseSignature(text string, open bool) (signature, error) {
	s := signature{text: text}
	name, rest, ok := strings.Cut(text, "(")
	list, result, closed := strings.Cut(rest, ")")
	if !ok || !closed {
		return s, errors.New("expected name(parameters) type")
	}
	s.name = name
	if s.result, ok = event.ParseType(strings.TrimSpace(result)); !ok && !open {
		return s, fmt.Errorf("unknown type %q of the result", result)
	}
	head, optional, _ := strings.Cut(list, "[")
	for i, piece := range []string{head, strings.ReplaceAll(optional, "[", "")} {
		for part := range strings.SplitSeq(strings.ReplaceAll(piece, "]", ""), ",") {
			part = strings.TrimSpace(part)
			switch name, kind, _ := strings.Cut(part, " "); {
			case part == "":
			case part == "…":
				s.repeats = true
			default:
				if _, ok := kinds[kind]; !ok {
					return s, fmt.Errorf("unknown type %q of parameter %q", kind, name)
				}
				s.params = append(s.params, param{name, kind})
				if i == 0 {
					s.required++
				}
			}
		}
	}
	return s, nil
}

// counts reports whether the form takes n arguments.
func (s *signature) counts(n int) bool {
	return n >= s.required && (n <= len(s.params) || s.repeats && len(s.params) > 0)
}

func (s *signature) param(i int) param { return s.params[min(i, len(s.params)-1)] }

// mismatch returns why the form does not take the arguments, and how many it takes before.
func (s *signature) mismatch(args []Arg) (int, error) {
	for i, a := range args {
		if p := s.param(i); !kinds[p.kind].takes(a.Type) {
			return i, fmt.Errorf("argument %d, `%s`, is %s, expected %s", i+1, p.name, a.Type, kinds[p.kind].what)
		}
	}
	return len(args), nil
}

// Bound is a function with the arguments of one call.
type Bound struct {
	Type  event.Type   // of the result
	Reads []event.Type // the types that arguments must be converted to
	Call  Func
}

// Usages returns the forms of the call for people.
func (s *Spec) Usages() []string {
	if len(s.forms) == 0 {
		return []string{s.Usage}
	}
	return s.Signatures
}

// BindCall checks the arguments of a call and returns the function for it.
func (s *Spec) BindCall(args []Arg) (Bound, error) {
	if len(s.forms) == 0 {
		return s.bindPlain(args)
	}
	form, err := s.form(args)
	if err != nil {
		return Bound{}, err
	}
	b := Bound{Type: form.result}
	read := make([]Arg, len(args))
	for i, a := range args {
		read[i] = a
		if to := kinds[form.param(i).kind].read; to != 0 {
			read[i] = a.as(to)
		}
		b.Reads = append(b.Reads, read[i].Type)
	}
	if s.Type != nil {
		if b.Type, err = s.Type(read); err != nil {
			return Bound{}, err
		}
	}
	call, err := s.Bind(read)
	if err != nil {
		return Bound{}, err
	}
	b.Call = call
	if !s.Nulls {
		b.Call = nullsFirst(call, b.Type == event.Bool)
	}
	return b, nil
}

// form returns the form that accepts the arguments. If none does, it returns the error of the
// form that accepts most of them.
func (s *Spec) form(args []Arg) (*signature, error) {
	var best error
	most := -1
	for i := range s.forms {
		f := &s.forms[i]
		if !f.counts(len(args)) {
			continue
		}
		n, err := f.mismatch(args)
		if err == nil {
			return f, nil
		}
		if n > most {
			best, most = err, n
		}
	}
	if best == nil {
		best = s.wrongCount(len(args))
	}
	return nil, best
}

func (s *Spec) wrongCount(n int) error {
	least, most, repeats := s.forms[0].required, 0, false
	for _, f := range s.forms {
		least, most, repeats = min(least, f.required), max(most, len(f.params)), repeats || f.repeats
	}
	found := fmt.Sprintf("found %d arguments", n)
	if n == 1 {
		found = "found 1 argument"
	}
	switch {
	case repeats:
		return fmt.Errorf("%s, expected at least %d", found, least)
	case least == most:
		return fmt.Errorf("%s, expected %d", found, least)
	}
	return fmt.Errorf("%s, expected %d to %d", found, least, most)
}

// as returns the argument as a function reads it.
func (a Arg) as(to event.Type) Arg {
	if a.Const != nil && to == event.Double && a.Type.Class() == event.Integers {
		a.Const = &Value{Real: float64(a.Const.Int)}
	}
	if to == event.String && a.Type != event.String {
		a.Const = nil // its text is made with the row
	}
	a.Type = to
	return a
}

func nullsFirst(call Func, condition bool) Func {
	return func(c *Context, args []Value, out *Value) {
		for i := range args {
			if args[i].Null {
				out.Null = !condition
				return
			}
		}
		call(c, args, out)
	}
}

func (s *Spec) bindPlain(args []Arg) (Bound, error) {
	types := make([]event.Type, len(args))
	for i, a := range args {
		types[i] = a.Type
	}
	t, err := s.Result(types)
	eval := s.Eval
	return Bound{Type: t, Reads: types, Call: func(_ *Context, args []Value, out *Value) { eval(args, out) }}, err
}

func errOneType(i int, found, first event.Type) error {
	return fmt.Errorf("argument %d is %s and argument 1 is %s, but one type is needed: write convert(…, '%s')", i+1, found, first, first)
}
