package siddhiql

import (
	"errors"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
)

// Function is a scalar function of the language. The checker and the engine share this
// table: a function that is not in it does not exist.
type Function struct {
	// Name is what apps write, in exactly these letters.
	Name string
	// Usage is shown when arguments are wrong.
	Usage string
	// Doc says in one line what the function returns.
	Doc string
	// typed: the last argument is the name of a type and goes to Call.T.
	typed bool
	// result checks the arguments, without a type's name, and returns the type
	// of the result and the type that it really holds.
	result func(args []Expr, target event.Type) (t, held event.Type, err error)
}

// functions is a function, not a variable, so that no code can change the table.
func functions() []Function {
	list := []Function{
		{Name: "cast", Doc: "the value as that type", Usage: "cast(x, 'type')", typed: true, result: castResult},
		{Name: "coalesce", Doc: "the first that is not null", Usage: "coalesce(x, …), all of one type", result: coalesceResult},
		{Name: "convert", Doc: "the converted value: text is parsed, numbers are truncated; null if that fails", Usage: "convert(x, 'type')", typed: true, result: convertResult},
		{Name: "currentTimeMillis", Doc: "the clock of the app", Usage: "currentTimeMillis()", result: timeResult},
		{Name: "default", Doc: "the constant if x is null, else x", Usage: "default(x, constant), both of one type", result: defaultResult},
		{Name: "eventTimestamp", Doc: "the event's own time", Usage: "eventTimestamp()", result: timeResult},
		{Name: "ifThenElse", Doc: "a; b if the condition is false or null", Usage: "ifThenElse(condition bool, a, b), a and b of one type", result: ifThenElseResult},
		{Name: "maximum", Doc: "the largest; nulls are ignored", Usage: "maximum(number, …), all of one type", result: extremeResult},
		{Name: "minimum", Doc: "the smallest; nulls are ignored", Usage: "minimum(number, …), all of one type", result: extremeResult},
		{Name: WindowEnd, Doc: "in `select`: the end of the batch of the query's window", Usage: WindowEnd + "()", result: timeResult},
		{Name: WindowStart, Doc: "in `select`: the start of the batch of the query's window", Usage: WindowStart + "()", result: timeResult},
	}
	for _, class := range []string{"Boolean", "Double", "Float", "Integer", "Long", "String"} {
		name := "instanceOf" + class
		list = append(list, Function{Name: name, Doc: "whether the value has that type; false for null", Usage: name + "(x)", result: instanceResult})
	}
	return list
}

// Functions lists the scalar functions of the language: everything that the Func of a Call
// can be.
func Functions() []Function { return functions() }

// functionTable maps names to functions; the checker makes it once per text.
func functionTable() map[string]Function {
	table := map[string]Function{}
	for _, name := range function.Names() {
		spec, _ := function.Lookup(name)
		table[name] = registered(spec)
	}
	for _, f := range functions() {
		table[f.Name] = f
	}
	return table
}

// registered makes a row of the table for a function of package function.
func registered(spec function.Spec) Function {
	return Function{Name: spec.Name, Usage: strings.Join(spec.Usages(), " or "), result: func(args []Expr, _ event.Type) (t, held event.Type, err error) {
		for i, a := range args {
			if err := realValue(a); err != nil {
				return 0, 0, fmt.Errorf("argument %d: %w", i+1, err)
			}
		}
		bound, err := spec.BindCall(FunctionArgs(args))
		return bound.Type, bound.Type, err
	}}
}

// FunctionArgs returns what package function has to know of arguments.
func FunctionArgs(args []Expr) []function.Arg {
	list := make([]function.Arg, len(args))
	for i, a := range args {
		list[i].Type = a.Type()
		if k, ok := a.(*Const); ok {
			list[i].Const = &function.Value{Int: k.Int, Real: k.Real, Text: k.Text}
		}
	}
	return list
}

// refusedFunctions exist in Siddhi and not here.
var refusedFunctions = map[string]string{
	"approx:count": "write `count`, which is exact everywhere",
	"UUID":         "UUID is not deterministic: a replay would give other results; let the publisher put an id into the event",
	"math:rand":    "it is not deterministic: a replay would give other results; let the publisher put a random number into the event",
}

func argCount(args []Expr, least, most int) error {
	switch n := len(args); {
	case least == most && n != least:
		return fmt.Errorf("found %s, expected %d", count(n, "argument"), least)
	case n < least:
		return fmt.Errorf("found %s, expected at least %d", count(n, "argument"), least)
	case n > most:
		return fmt.Errorf("found %s, expected at most %d", count(n, "argument"), most)
	}
	return nil
}

const argsMax = 1000 // of functions that take any number

func castResult(args []Expr, target event.Type) (t, held event.Type, err error) {
	if err := argCount(args, 1, 1); err != nil {
		return 0, 0, err
	}
	held = args[0].Holds()
	if held == event.Int && target == event.Long {
		held = event.Long // the one cast that changes the value
	}
	return target, held, nil
}

func convertResult(args []Expr, target event.Type) (t, held event.Type, err error) {
	if err := argCount(args, 1, 1); err != nil {
		return 0, 0, err
	}
	switch {
	case target == event.Object:
		return 0, 0, errors.New("nothing converts to object: expected another type")
	case args[0].Type() == event.Object && target != event.String:
		return 0, 0, fmt.Errorf("an object converts only to string: to read it as %s, write cast(…, '%s')", target, target)
	}
	return target, target, nil
}

func coalesceResult(args []Expr, _ event.Type) (t, held event.Type, err error) {
	if err := argCount(args, 1, argsMax); err != nil {
		return 0, 0, err
	}
	return oneType(args, 1)
}

func defaultResult(args []Expr, _ event.Type) (t, held event.Type, err error) {
	if err := argCount(args, 2, 2); err != nil {
		return 0, 0, err
	}
	if _, constant := args[1].(*Const); !constant {
		return 0, 0, errors.New("argument 2 is not a constant: coalesce takes any values")
	}
	return oneType(args, 1)
}

func ifThenElseResult(args []Expr, _ event.Type) (t, held event.Type, err error) {
	if err := argCount(args, 3, 3); err != nil {
		return 0, 0, err
	}
	if args[0].Type() != event.Bool {
		return 0, 0, fmt.Errorf("argument 1 is %s, expected a condition (bool)", args[0].Type())
	}
	if err := realValue(args[0]); err != nil {
		return 0, 0, fmt.Errorf("argument 1: %w", err)
	}
	return oneType(args[1:], 2)
}

func extremeResult(args []Expr, _ event.Type) (t, held event.Type, err error) {
	if err := argCount(args, 1, argsMax); err != nil {
		return 0, 0, err
	}
	for i, a := range args {
		if !a.Type().Numeric() {
			return 0, 0, fmt.Errorf("argument %d is %s, expected a number", i+1, a.Type())
		}
		if err := realValue(a); err != nil {
			return 0, 0, fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	t, err = sameType(args, 1)
	return t, t, err
}

func timeResult(args []Expr, _ event.Type) (t, held event.Type, err error) {
	return event.Long, event.Long, argCount(args, 0, 0)
}

func instanceResult(args []Expr, _ event.Type) (t, held event.Type, err error) {
	return event.Bool, event.Bool, argCount(args, 1, 1)
}

// sameType checks that all arguments have one type. args[0] is argument number first of the
// function.
func sameType(args []Expr, first int) (event.Type, error) {
	t := args[0].Type()
	for i, a := range args[1:] {
		n, u := first+i+1, a.Type()
		if u == t {
			continue
		}
		hint := ""
		if t.Numeric() && u.Numeric() {
			narrow := n
			if promote(t, u) == u {
				narrow = first
			}
			hint = fmt.Sprintf(": write convert(…, '%s') around argument %d", promote(t, u), narrow)
		}
		return 0, fmt.Errorf("argument %d is %s and argument %d is %s, but one type is needed%s", first, t, n, u, hint)
	}
	return t, nil
}

// oneType checks that all arguments have, and really hold, one type.
func oneType(args []Expr, first int) (t, held event.Type, err error) {
	if t, err = sameType(args, first); err != nil {
		return 0, 0, err
	}
	held = args[0].Holds()
	for i, a := range args[1:] {
		if a.Holds() != held {
			return 0, 0, fmt.Errorf("arguments %d and %d are called %s, but cast() left a value of type %s in one and of type %s in the other: use convert() instead of cast()", first, first+i+1, t, held, a.Holds())
		}
	}
	return t, held, nil
}

// promote returns the common type of two numbers.
func promote(a, b event.Type) event.Type { return max(a, b) }

// realValue refuses a value that does not have the type that it claims: cast() only changes
// the type's name. Numbers of all types can stand for each other, and the type of an
// object's content is known only when it is there.
func realValue(e Expr) error {
	t, held := e.Type(), e.Holds()
	if t == held || held == event.Object || t.Numeric() && held.Numeric() {
		return nil
	}
	if t == event.Object {
		return fmt.Errorf("cast() only calls the value an object, it still is %s: leave the cast out", held)
	}
	return fmt.Errorf("cast() only calls the value %s, it still is %s: use convert(…, '%s') instead", t, held, t)
}

// count writes a number of things.
func count(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing
	case 1:
		return "1 " + thing
	default:
		return fmt.Sprintf("%d %ss", n, thing)
	}
}
