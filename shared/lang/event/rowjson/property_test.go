package rowjson

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func drawSchema(t *rapid.T) *event.Schema {
	s := schema("S")
	for i, ty := range rapid.SliceOfN(rapid.SampledFrom(event.Types()), 1, 6).Draw(t, "types") {
		name := rapid.SampledFrom([]string{"a", "time", "origin", "größe", "we\"ird", "x\\y"}).Draw(t, "name")
		s.Attrs = append(s.Attrs, event.Attr{Name: fmt.Sprint(name, i), Type: ty})
	}
	return s
}

// drawJSON returns a value as a publisher may write it, now and then of another
// type than is wanted.
func drawJSON(t *rapid.T, ty event.Type) string {
	if rapid.IntRange(0, 30).Draw(t, "other type") == 0 {
		ty = rapid.SampledFrom(event.Types()).Draw(t, "type")
	}
	if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
		return "null"
	}
	switch ty {
	case event.Bool:
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "bool")
	case event.String:
		return drawString(t)
	case event.Object:
		return rapid.SampledFrom([]string{`{}`, `[ 1 , {"a":"b c"} ]`, `" \" "`, `-0.0`, `{"k" : [null,true]}`}).Draw(t, "object")
	default:
		return drawNumber(t)
	}
}

func drawString(t *rapid.T) string {
	if rapid.Bool().Draw(t, "escaped") {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{"a", "é", `\n`, `\"`, `\\`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\udE00`, `\u0000`, "😀", `\/`}))
		return `"` + strings.Join(pieces.Draw(t, "pieces"), "") + `"`
	}
	quoted, err := json.Marshal(rapid.String().Draw(t, "string"))
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}

func drawNumber(t *rapid.T) string {
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return fmt.Sprint(rapid.Int64().Draw(t, "long"))
	case 1:
		return fmt.Sprintf("%g", rapid.Float64().Draw(t, "double"))
	case 2:
		return fmt.Sprintf("%.*f", rapid.IntRange(0, 20).Draw(t, "decimals"), rapid.Float64Range(-1e9, 1e9).Draw(t, "fixed"))
	case 3:
		return fmt.Sprintf("%d.%de%d", rapid.Int64().Draw(t, "whole"), rapid.Uint32().Draw(t, "fraction"), rapid.IntRange(-40, 40).Draw(t, "exponent"))
	case 4:
		edges := []int64{0, math.MaxInt32, math.MaxInt32 + 1, math.MinInt32, math.MinInt32 - 1, math.MaxInt64, math.MinInt64, 1 << 53, 1<<53 + 1, 1<<24 + 1}
		return fmt.Sprint(rapid.SampledFrom(edges).Draw(t, "edge"))
	case 5:
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
	default:
		return fmt.Sprint(rapid.Int32().Draw(t, "int"))
	}
}

// drawRow returns a row with its keys in any order, mostly complete.
func drawRow(t *rapid.T, s *event.Schema, order []int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\t", "\r\n "}).Draw(t, "space")
	var fields []string
	for _, i := range order {
		copies := rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2}).Draw(t, "copies")
		for range copies {
			key := appendString(nil, s.Attrs[i].Name)
			fields = append(fields, fmt.Sprint(space, string(key), space, ":", space, drawJSON(t, s.Attrs[i].Type), space))
		}
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func drawMessage(t *rapid.T, s *event.Schema) []byte {
	order := make([]int, len(s.Attrs))
	for i := range order {
		order[i] = i
	}
	if rapid.Bool().Draw(t, "shuffled") {
		order = rapid.Permutation(order).Draw(t, "order")
	}
	var rows []string
	for range rapid.IntRange(1, 4).Draw(t, "rows") {
		rows = append(rows, drawRow(t, s, order))
	}
	message := strings.Join(rows, "\n")
	if rapid.Bool().Draw(t, "array") {
		message = "[" + strings.Join(rows, ",") + "]"
	}
	payload := []byte(message)
	if rapid.IntRange(0, 2).Draw(t, "damage") == 0 {
		at := rapid.IntRange(0, len(payload)-1).Draw(t, "at")
		payload[at] = rapid.SampledFrom([]byte("{}[],:\"\\0.e- \n\xffx")).Draw(t, "byte")
		payload = payload[:rapid.IntRange(at, len(payload)).Draw(t, "length")]
	}
	return payload
}

func TestAllWaysOfReadingAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchema(t)
		agree(t, s, drawMessage(t, s), drawMessage(t, s))
	})
}

func TestRowsSurviveBeingWrittenAndRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchema(t)
		b := event.NewBatch(s)
		for range rapid.IntRange(1, 5).Draw(t, "rows") {
			for i := range b.Cols {
				drawCell(t, &b.Cols[i])
			}
			b.TS = append(b.TS, 1)
		}
		checkRoundTrip(t, b)
		values, d := event.NewBatch(s), NewDecoder(s)
		for i := range b.Len() {
			row := AppendArray(nil, b, i)
			if err := d.Values(values, row, 1); err != nil {
				t.Fatalf("%s: %v", row, err)
			}
		}
		if !same(b, values) {
			t.Fatalf("written and read again as values:\n%s\n%s", text(b), text(values))
		}
	})
}

func drawCell(t *rapid.T, c *event.Column) {
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		c.AppendNull()
		return
	}
	switch c.Type {
	case event.Bool:
		c.AppendBool(rapid.Bool().Draw(t, "bool"))
	case event.Int:
		c.AppendInt(int64(rapid.Int32().Draw(t, "int")))
	case event.Long:
		c.AppendInt(rapid.Int64().Draw(t, "long"))
	case event.Float:
		c.AppendFloat(float64(rapid.Float32().Draw(t, "float")))
	case event.Double:
		c.AppendFloat(rapid.Float64().Draw(t, "double"))
	case event.Object:
		c.AppendText(rapid.SampledFrom([]string{`{"a":[1,2]}`, `[]`, `"x"`, `1.50`, `true`}).Draw(t, "object"))
	default:
		c.AppendText(rapid.String().Draw(t, "string"))
	}
}
