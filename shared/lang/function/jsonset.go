package function

import (
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func bindSetElement(args []Arg) (Func, error) {
	p, err := bindPath(args[1])
	if err != nil {
		return nil, err
	}
	t := args[2].Type
	var scratch []byte
	var of document
	return func(c *Context, args []Value, out *Value) {
		d, found, _ := p.matches(c, args)
		if len(d.nodes) == 0 {
			null(out)
			return
		}
		scratch = appendElement(scratch[:0], &of, t, &args[2])
		key := ""
		if len(args) > 3 {
			key = args[3].Text
		}
		start, from := len(c.Text), int(d.nodes[0].start)
		for _, n := range found {
			if int(d.nodes[n].start) < from {
				continue // inside a value that was replaced
			}
			from = setAt(c, d, n, from, scratch, key, len(args) > 3)
		}
		c.Text = append(c.Text, d.text[from:d.nodes[0].end]...)
		compacted := document{text: string(c.Text[start:])}
		compacted.nodes = append(compacted.nodes, node{end: int32(len(compacted.text))})
		c.Text = compacted.compact(c.Text[:start], 0)
		c.end(out, start)
	}, nil
}

// setAt copies the text from a place up to node n, and n with the element in it or in its
// place. It returns where the text goes on.
func setAt(c *Context, d *document, n int32, from int, element []byte, key string, keyed bool) int {
	x := d.nodes[n]
	c.Text = append(c.Text, d.text[from:x.start]...)
	switch {
	case keyed && x.kind == '{':
		for m := n + 1; m < x.next; m = d.nodes[m].next {
			if d.keyIs(m, key) {
				c.Text = append(append(c.Text, d.text[x.start:d.nodes[m].start]...), element...)
				return int(d.nodes[m].end)
			}
		}
		c.Text = append(c.Text, d.text[x.start:x.end-1]...)
		if x.next > n+1 {
			c.Text = append(c.Text, ',')
		}
		c.Text = append(appendQuoted(c.Text, key), ':')
		c.Text = append(append(c.Text, element...), '}')
	case keyed:
		c.Text = append(c.Text, d.text[x.start:x.end]...)
	case x.kind == '[':
		c.Text = append(c.Text, d.text[x.start:x.end-1]...)
		if x.next > n+1 {
			c.Text = append(c.Text, ',')
		}
		c.Text = append(append(c.Text, element...), ']')
	default:
		c.Text = append(c.Text, element...)
	}
	return int(x.end)
}

// appendElement appends a value as JSON. A text that is a JSON object or array stays one.
func appendElement(dst []byte, d *document, t event.Type, v *Value) []byte {
	switch {
	case v.Null:
		return append(dst, "null"...)
	case t == event.Object:
		return append(dst, v.Text...)
	case t == event.String:
		p := jsonParser{text: v.Text, nodes: d.nodes[:0]}
		isJSON := p.value(0) && p.blanks() == len(v.Text)
		d.nodes = p.nodes
		if isJSON && (p.nodes[0].kind == '{' || p.nodes[0].kind == '[') {
			return append(dst, v.Text...)
		}
		return appendQuoted(dst, v.Text)
	case t == event.Bool:
		return strconv.AppendBool(dst, v.Int != 0)
	case t.Class() == event.Reals:
		return appendNumber(dst, v.Real, t)
	}
	return strconv.AppendInt(dst, v.Int, 10)
}

// appendNumber appends a double or float as JSON, with the shortest digits; null if it is not
// finite.
func appendNumber(dst []byte, v float64, t event.Type) []byte {
	if v-v != 0 {
		return append(dst, "null"...)
	}
	bits := 64
	if t == event.Float {
		bits = 32
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits)
}
