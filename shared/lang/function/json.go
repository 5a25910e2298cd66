package function

import (
	"math"
	"strconv"
)

func init() {
	get := func(name, result, doc, example, gives string, f func(c *Context, d *document, found []int32, many bool, out *Value)) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(x json, path string) " + result}, Doc: doc, Example: example, Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				p, err := bindPath(args[1])
				return func(c *Context, args []Value, out *Value) {
					d, found, many := p.matches(c, args)
					f(c, d, found, many, out)
				}, err
			},
		})
	}
	get("json:getString", "string", "the text at the path; of another value its JSON; of several values a JSON array", `json:getString("""{"a":"x"}""", '$.a')`, `"x"`, jsonString)
	get("json:getObject", "object", "the value at the path; an array, if there are several", `json:getObject('{}', '$')`, "{}", jsonObject)
	get("json:isExists", "bool", "whether there is a value at the path", `json:isExists('[1]', '$[0]')`, "true", func(_ *Context, _ *document, found []int32, _ bool, out *Value) { yes(out, len(found) > 0) })
	get("json:getBool", "bool", "the bool at the path; null if it is none", `json:getBool('[true]', '$[0]')`, "true", jsonBool)
	get("json:getInt", "int", "the number at the path; null if it is no int", `json:getInt('[1,5]', '$[1]')`, "5", jsonInt(32))
	get("json:getLong", "long", "the number at the path; null if it is no long", `json:getLong('[5]', '$[0]')`, "5", jsonInt(64))
	get("json:getFloat", "float", "the number at the path; null if it is none", `json:getFloat('[1.5]', '$[0]')`, "1.5", jsonReal(32))
	get("json:getDouble", "double", "the number at the path; null if it is none", `json:getDouble('[1.5]', '$[0]')`, "1.5", jsonReal(64))
	whole := func(name, form, doc, example, gives string) {
		Register(Spec{
			Name: name, Signatures: []string{form}, Doc: doc, Example: example, Gives: gives,
			Bind: always(func(c *Context, args []Value, out *Value) {
				if d := c.parse(args[0].Text); len(d.nodes) > 0 {
					writeNode(c, d, 0, out)
				} else {
					null(out)
				}
			}),
		})
	}
	whole("json:toObject", "json:toObject(s string) object", "the text, which is JSON, as an object; null if it is not JSON", "json:toObject('[1, 2]')", "[1,2]")
	whole("json:toString", "json:toString(x object) string", "the object's JSON as a text", "json:toString(json:toObject('[1, 2]'))", `"[1,2]"`)
	Register(Spec{
		Name:       "json:setElement",
		Signatures: []string{"json:setElement(x json, path string, value any[, key string]) object"},
		Doc:        "the JSON with the value at the path: in place of what is there, after the elements of an array, or as the member `key` of an object; unchanged if nothing is there",
		Example:    `json:setElement('[1]', '$', 2)`, Gives: "[1,2]",
		Bind: bindSetElement,
	})
}

// writeNode writes a value as JSON.
func writeNode(c *Context, d *document, n int32, out *Value) {
	start := len(c.Text)
	c.Text = d.compact(c.Text, n)
	c.end(out, start)
}

func jsonString(c *Context, d *document, found []int32, many bool, out *Value) {
	switch {
	case len(found) == 0:
		null(out)
	case len(found) > 1:
		jsonObject(c, d, found, many, out)
	case d.nodes[found[0]].kind == 'n':
		null(out)
	case d.nodes[found[0]].kind != '"':
		writeNode(c, d, found[0], out)
	default:
		text := d.raw(found[0])
		start := len(c.Text)
		c.Text = unescape(c.Text, text[1:len(text)-1])
		c.end(out, start)
	}
}

func jsonObject(c *Context, d *document, found []int32, _ bool, out *Value) {
	switch len(found) {
	case 0:
		null(out)
	case 1:
		if d.nodes[found[0]].kind == 'n' {
			null(out)
			return
		}
		writeNode(c, d, found[0], out)
	default:
		start := len(c.Text)
		c.Text = append(c.Text, '[')
		for i, n := range found {
			if i > 0 {
				c.Text = append(c.Text, ',')
			}
			c.Text = d.compact(c.Text, n)
		}
		c.Text = append(c.Text, ']')
		c.end(out, start)
	}
}

func jsonBool(_ *Context, d *document, found []int32, _ bool, out *Value) {
	null(out)
	if len(found) == 1 {
		if kind := d.nodes[found[0]].kind; kind == 't' || kind == 'f' {
			*out = Value{}
			yes(out, kind == 't')
		}
	}
}

func jsonInt(bits int) func(*Context, *document, []int32, bool, *Value) {
	return func(_ *Context, d *document, found []int32, _ bool, out *Value) {
		null(out)
		if len(found) != 1 || d.nodes[found[0]].kind != 0 {
			return
		}
		if n, err := strconv.ParseInt(d.raw(found[0]), 10, bits); err == nil {
			*out = Value{Int: n}
		}
	}
}

func jsonReal(bits int) func(*Context, *document, []int32, bool, *Value) {
	return func(_ *Context, d *document, found []int32, _ bool, out *Value) {
		null(out)
		if len(found) != 1 || d.nodes[found[0]].kind != 0 {
			return
		}
		if v, err := strconv.ParseFloat(d.raw(found[0]), bits); err == nil && !math.IsInf(v, 0) {
			*out = Value{Real: v}
		}
	}
}
