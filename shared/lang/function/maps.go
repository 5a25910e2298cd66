package function

import (
	"errors"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// A map is a JSON object whose keys are texts.

func init() {
	Register(Spec{
		Name: "map:create", Signatures: []string{"map:create(key any, value any, …) object", "map:create() object"}, Nulls: true,
		Doc: "an object of keys and values", Example: "map:create('a', 1, 'b', 'x')", Gives: `{"a":1,"b":"x"}`,
		Bind: bindMap,
	})
	read := func(name, form, doc, example, gives string, f func(c *Context, d *document, args []Value, out *Value)) {
		Register(Spec{
			Name: name, Signatures: []string{form}, Doc: doc, Example: example, Gives: gives,
			Bind: always(func(c *Context, args []Value, out *Value) {
				d := c.parse(args[0].Text)
				if len(d.nodes) == 0 || d.nodes[0].kind != '{' {
					*out = Value{Null: !isCondition(name)}
					return
				}
				f(c, d, args, out)
			}),
		})
	}
	const object = `json:toObject("""{"a":1}""")`
	read("map:get", "map:get(map object, key text) object", "the value of a key; null if there is none", "map:get("+object+", 'a')", "1", func(c *Context, d *document, args []Value, out *Value) {
		if n, ok := d.member(args[1].Text); ok && d.nodes[n].kind != 'n' {
			writeNode(c, d, n, out)
		} else {
			null(out)
		}
	})
	read("map:containsKey", "map:containsKey(map object, key text) bool", "whether the map has a key", "map:containsKey("+object+", 'a')", "true", func(_ *Context, d *document, args []Value, out *Value) {
		_, ok := d.member(args[1].Text)
		yes(out, ok)
	})
	read("map:isMap", "map:isMap(x object) bool", "whether the object is a map", "map:isMap("+object+")", "true", func(_ *Context, _ *document, _ []Value, out *Value) { yes(out, true) })
	read("map:size", "map:size(map object) int", "the number of keys", "map:size("+object+")", "1", func(_ *Context, d *document, _ []Value, out *Value) { out.Int = d.size() })
	read("map:keys", "map:keys(map object) object", "the keys as an array", "map:keys("+object+")", `["a"]`, func(c *Context, d *document, _ []Value, out *Value) {
		writeList(c, d, out, func(dst []byte, n int32) []byte {
			key := d.nodes[n].key
			return append(dst, d.text[key[0]-1:key[1]+1]...)
		})
	})
	read("map:values", "map:values(map object) object", "the values as an array", "map:values("+object+")", "[1]", func(c *Context, d *document, _ []Value, out *Value) {
		writeList(c, d, out, d.compact)
	})
	read("map:remove", "map:remove(map object, key text) object", "the map without a key", "map:remove("+object+", 'a')", "{}", func(c *Context, d *document, args []Value, out *Value) {
		n, ok := d.member(args[1].Text)
		if !ok {
			n = -1
		}
		writeMap(c, d, n, nil, "", out)
	})
	initPuts(object)
}

func isCondition(name string) bool { return name == "map:isMap" || name == "map:containsKey" }

// initPuts registers functions that add a key.
func initPuts(object string) {
	for name, always := range map[string]bool{"map:put": true, "map:putIfAbsent": false} {
		doc, gives := "the map with a key and its value", `{"a":2}`
		if !always {
			doc, gives = "the map with a key and its value, unless the key is there", `{"a":1}`
		}
		Register(Spec{
			Name: name, Signatures: []string{name + "(map object, key text, value any) object"}, Nulls: true,
			Doc: doc, Example: name + "(" + object + ", 'a', 2)", Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				t := args[2].Type
				var scratch []byte
				var of document
				return func(c *Context, args []Value, out *Value) {
					d := c.parse(args[0].Text)
					if args[0].Null || args[1].Null || len(d.nodes) == 0 || d.nodes[0].kind != '{' {
						null(out)
						return
					}
					n, known := d.member(args[1].Text)
					if known && !always {
						writeNode(c, d, 0, out)
						return
					}
					if !known {
						n = -1
					}
					scratch = appendElement(scratch[:0], &of, t, &args[2])
					writeMap(c, d, n, scratch, args[1].Text, out)
				}, nil
			},
		})
	}
}

func bindMap(args []Arg) (Func, error) {
	if len(args)%2 != 0 {
		return nil, errors.New("a key has no value: expected an even number of arguments")
	}
	types := make([]event.Type, len(args))
	for i, a := range args {
		if types[i] = a.Type; i%2 == 0 && a.Type != event.String {
			return nil, errors.New("a key is no string: write convert(…, 'string')")
		}
	}
	var of document
	return func(c *Context, args []Value, out *Value) {
		start := len(c.Text)
		c.Text = append(c.Text, '{')
		for i := 0; i < len(args); i += 2 {
			if args[i].Null || repeated(args, i) {
				continue
			}
			if len(c.Text) > start+1 {
				c.Text = append(c.Text, ',')
			}
			c.Text = append(appendQuoted(c.Text, args[i].Text), ':')
			c.Text = appendElement(c.Text, &of, types[i+1], &args[i+1])
		}
		c.Text = append(c.Text, '}')
		c.end(out, start)
	}, nil
}

// repeated reports whether a key comes again later: the last value counts.
func repeated(args []Value, i int) bool {
	for j := i + 2; j < len(args); j += 2 {
		if !args[j].Null && args[j].Text == args[i].Text {
			return true
		}
	}
	return false
}

// member returns the member of the root with a key.
func (d *document) member(key string) (int32, bool) {
	for m := int32(1); m < d.nodes[0].next; m = d.nodes[m].next {
		if d.keyIs(m, key) {
			return m, true
		}
	}
	return 0, false
}

// size returns the number of members or elements of the root.
func (d *document) size() (n int64) {
	for m := int32(1); m < d.nodes[0].next; m = d.nodes[m].next {
		n++
	}
	return n
}

// writeList writes an array with an element for each member of the root.
func writeList(c *Context, d *document, out *Value, element func(dst []byte, n int32) []byte) {
	start := len(c.Text)
	c.Text = append(c.Text, '[')
	for m := int32(1); m < d.nodes[0].next; m = d.nodes[m].next {
		if len(c.Text) > start+1 {
			c.Text = append(c.Text, ',')
		}
		c.Text = element(c.Text, m)
	}
	c.Text = append(c.Text, ']')
	c.end(out, start)
}

// writeMap writes the root with a value in place of member n, or after the others if n is -1;
// without a value, it leaves the member out.
func writeMap(c *Context, d *document, n int32, value []byte, key string, out *Value) {
	start := len(c.Text)
	c.Text = append(c.Text, '{')
	comma := func() {
		if len(c.Text) > start+1 {
			c.Text = append(c.Text, ',')
		}
	}
	for m := int32(1); m < d.nodes[0].next; m = d.nodes[m].next {
		if m == n && value == nil {
			continue
		}
		comma()
		at := d.nodes[m].key
		c.Text = append(append(c.Text, d.text[at[0]-1:at[1]+1]...), ':')
		if m == n {
			c.Text = append(c.Text, value...)
		} else {
			c.Text = d.compact(c.Text, m)
		}
	}
	if n < 0 && value != nil {
		comma()
		c.Text = append(append(appendQuoted(c.Text, key), ':'), value...)
	}
	c.Text = append(c.Text, '}')
	c.end(out, start)
}
