package function

import (
	"math"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Functions that read numbers from texts, and write them in other bases.
func init() {
	whole := func(name, result string, bits int) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(s string) " + result},
			Doc: "the text as a number; null if it is none", Example: name + "('123')", Gives: "123",
			Bind: always(func(_ *Context, args []Value, out *Value) {
				n, err := strconv.ParseInt(args[0].Text, 10, bits)
				if out.Int = n; err != nil {
					null(out)
				}
			}),
		})
	}
	whole("math:parseInt", "int", 32)
	whole("math:parseLong", "long", 64)
	real := func(name, result string, bits int) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(s string) " + result},
			Doc: "the text as a number; null if it is none", Example: name + "('1.5')", Gives: "1.5",
			Bind: always(func(_ *Context, args []Value, out *Value) {
				text := strings.Trim(args[0].Text, " \t\r\n\f\v")
				v, err := strconv.ParseFloat(text, bits)
				if out.Real = v; err != nil && !math.IsInf(v, 0) || strings.Trim(text, "0123456789.eE+-") != "" {
					null(out)
				}
			}),
		})
	}
	real("math:parseFloat", "float", 32)
	real("math:parseDouble", "double", 64)
	base := func(name, doc, example, gives string, to int) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(x long) string"}, Doc: doc, Example: example, Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				narrow := args[0].Type == event.Int
				return func(c *Context, args []Value, out *Value) {
					n, start := uint64(args[0].Int), len(c.Text)
					if narrow {
						n = uint64(uint32(n))
					}
					c.Text = strconv.AppendUint(c.Text, n, to)
					c.end(out, start)
				}, nil
			},
		})
	}
	base("math:bin", "the number in base 2; a negative one in two's complement", "math:bin(9)", `"1001"`, 2)
	base("math:oct", "the number in base 8; a negative one in two's complement", "math:oct(9)", `"11"`, 8)
	base("math:hex", "the number in base 16; a negative one in two's complement", "math:hex(200)", `"c8"`, 16)
	Register(Spec{
		Name: "math:conv", Signatures: []string{"math:conv(s string, from int, to int) string"},
		Doc:     "a number of one base, 2 to 36, in another; a negative one in two's complement of 64 bits",
		Example: "math:conv('7f', 16, 10)", Gives: `"127"`,
		Bind: always(func(c *Context, args []Value, out *Value) {
			from, to := args[1].Int, args[2].Int
			if from < 2 || from > 36 || to < 2 || to > 36 {
				null(out)
				return
			}
			negative := strings.HasPrefix(args[0].Text, "-")
			n, err := strconv.ParseUint(strings.TrimPrefix(args[0].Text, "-"), int(from), 64)
			if err != nil {
				null(out)
				return
			}
			if negative {
				n = -n
			}
			start := len(c.Text)
			c.Text = strconv.AppendUint(c.Text, n, int(to))
			c.end(out, start)
		}),
	})
}
