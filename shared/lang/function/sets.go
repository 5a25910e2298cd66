package function

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// A set is a JSON array.

func init() {
	Register(Spec{
		Name: "createSet", Signatures: []string{"createSet(x any) object"}, Nulls: true,
		Doc: "a set of one value; null is a value", Example: "createSet('a')", Gives: `["a"]`,
		Bind: func(args []Arg) (Func, error) {
			if args[0].Type == event.Object {
				return nil, errors.New("an object cannot be in a set: expected a text, a number or a bool")
			}
			t := args[0].Type
			return func(c *Context, args []Value, out *Value) {
				start := len(c.Text)
				c.Text = append(c.Text, '[')
				if t == event.String && !args[0].Null {
					c.Text = appendQuoted(c.Text, args[0].Text)
				} else {
					c.Text = appendElement(c.Text, nil, t, &args[0])
				}
				c.Text = append(c.Text, ']')
				c.end(out, start)
			}, nil
		},
	})
	Register(Spec{
		Name: "sizeOfSet", Signatures: []string{"sizeOfSet(set object) int"}, Nulls: true,
		Doc: "the number of values in a set; 0 if it is null, null if the object is no set", Example: "sizeOfSet(createSet('a'))", Gives: "1",
		Bind: always(func(c *Context, args []Value, out *Value) {
			if args[0].Null {
				return
			}
			d := c.parse(args[0].Text)
			if len(d.nodes) == 0 || d.nodes[0].kind != '[' {
				null(out)
				return
			}
			out.Int = d.size()
		}),
	})
}

// Elements calls visit with the JSON of each element of a set, without white space. It does
// nothing if the text is not a JSON array. The memory of the elements is scratch.
func Elements(c *Context, set string, visit func(element string)) {
	c.Row++
	d := c.parse(set)
	if len(d.nodes) == 0 || d.nodes[0].kind != '[' {
		return
	}
	for m := int32(1); m < d.nodes[0].next; m = d.nodes[m].next {
		c.Text = d.compact(c.Text[:0], m)
		visit(view(c.Text))
	}
}

// AppendSet appends elements as a set, in order: null, bools, numbers, texts, other values.
func AppendSet(dst []byte, elements []string) []byte {
	slices.SortFunc(elements, compareElements)
	dst = append(dst, '[')
	for i, e := range elements {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
	}
	return append(dst, ']')
}

func compareElements(a, b string) int {
	if by := cmp.Compare(elementRank(a), elementRank(b)); by != 0 {
		return by
	}
	switch elementRank(a) {
	case rankNumber:
		if by := compareNumbers(a, b); by != 0 {
			return by
		}
	case rankText:
		x, y := unescape(nil, a[1:len(a)-1]), unescape(nil, b[1:len(b)-1])
		if by := compareUnits(string(x), string(y)); by != 0 {
			return int(by)
		}
	}
	return strings.Compare(a, b)
}

func compareNumbers(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	f, _ := strconv.ParseFloat(a, 64)
	g, _ := strconv.ParseFloat(b, 64)
	return cmp.Compare(f, g)
}

const (
	rankNull = iota
	rankBool
	rankNumber
	rankText
	rankOther
)

func elementRank(e string) int {
	switch c := e[0]; {
	case c == 'n':
		return rankNull
	case c == 't' || c == 'f':
		return rankBool
	case c == '"':
		return rankText
	case c == '[' || c == '{':
		return rankOther
	}
	return rankNumber
}
