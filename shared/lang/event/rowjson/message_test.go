package rowjson

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func TestMessages(t *testing.T) {
	s := schema("S", event.Attr{Name: "delay", Type: event.Int}, event.Attr{Name: "origin", Type: event.String})
	const row = `{"delay":1,"origin":"A"}`
	for _, c := range []struct {
		name, payload string
		accepted      int
		refused       string // index[start:end] error
	}{
		{"an object", row, 1, ``},
		{"an object over lines", "\n{\n \"origin\" : \"A\" ,\r\n\t\"delay\" : 1\n}\n", 1, ``},
		{"an array", `[` + row + `,` + row + `]`, 2, ``},
		{"an array with space", " [ " + row + " , \n" + row + " ] ", 2, ``},
		{"lines", row + "\n" + row + "\r\n\n" + row + "\n", 3, ``},
		{"objects without a line break", row + row + " " + row, 3, ``},
		{"nothing", "", 0, `0[0:0] no event in the message: expected a JSON object, an array of objects, or NDJSON`},
		{"blank lines", " \n\r\n", 0, `0[0:4] no event in the message: expected a JSON object, an array of objects, or NDJSON`},
		{"an empty array", ` [ ]`, 0, `0[0:4] no event in the message: expected a JSON object, an array of objects, or NDJSON`},
		{"an empty object", `{}`, 0, `0[0:2] missing attribute "delay": expected int; write null where there is no value`},
		{"no object", `5`, 0, `0[0:1] expected an object with the attributes of S(delay int, origin string), found number 5`},
		{"an array of arrays", `[[1,"A"]]`, 0, `0[1:8] expected an object with the attributes of S(delay int, origin string), found array [1,"A"]`},
		{"unknown", `{"dly":1,"origin":"A"}`, 0, `0[0:22] unknown attribute "dly" (did you mean "delay"?)`},
		{"unknown and unlike", `{"x":1,"delay":1,"origin":"A"}`, 0, `0[0:30] unknown attribute "x"`},
		{"another case", `{"Delay":1,"origin":"A"}`, 0, `0[0:24] unknown attribute "Delay" (did you mean "delay"?)`},
		{"missing", `{"delay":1}`, 0, `0[0:11] missing attribute "origin": expected string; write null where there is no value`},
		{"duplicate", `{"delay":1,"origin":"A","delay":1}`, 0, `0[0:34] duplicate attribute "delay"`},
		{"duplicate by escape", `{"delay":1,"origin":"A","\u0064elay":1}`, 0, `0[0:39] duplicate attribute "delay"`},
		{"escaped name", `{"\u0064elay":1,"origin":"A"}`, 1, ``},
		{"a trailing comma", `{"delay":1,"origin":"A",}`, 0, `0[0:25] not JSON: unexpected byte 125 '}' at 24`},
		{"one wrong element", `[` + row + `,{"delay":"x","origin":"A"},` + row + `]`, 2, `1[26:52] delay: expected int, found string "x"`},
		{"a malformed element", `[` + row + `,{"delay":},` + row + `]`, 1, `1[26:62] not JSON: unexpected byte 125 '}' at 9`},
		{"no comma", `[` + row + row + `]`, 1, `1[25:50] not JSON: expected "," or "]" after the row, found {"delay":1,"origin":"A"}]`},
		{"an open array", `[` + row, 1, `1[25:25] not JSON: expected "," or "]" after the row, found the end of the message`},
		{"an array that ends in a comma", `[` + row + `,`, 1, `1[26:26] not JSON: expected a row, found the end of the message`},
		{"a bracket", `[`, 0, `0[1:1] not JSON: expected a row, found the end of the message`},
		{"text after an array", `[` + row + `] x`, 1, `1[27:28] not JSON: text after the array: x`},
		{"a malformed line", row + "\n{\"delay\":\n" + row, 2, `1[25:35] not JSON: unexpected EOF`},
		{"an open string", "{\"delay\":1,\"origin\":\"A}\n" + row, 1, `0[0:24] not JSON: unexpected byte 10 '\n' at 23`},
		{"lines of no JSON", row + "\nhello\nworld\n" + row, 2, `1[25:37] not JSON: unexpected byte 104 'h' at 0`},
		{"a wrong line", "{\"delay\":null,\"origin\":7}\n" + row, 1, `0[0:25] origin: expected string, found number 7`},
		{"a line of bad bytes", "{\"delay\":1,\"origin\":\"\xff\"}\n" + row, 1, "0[0:24] expected UTF-8, found invalid bytes in {\"delay\":1,\"origin\":\"\ufffd\"}"},
		{"a line too deep", `{"delay":` + nested(200) + "}\n" + row, 1, `0[0:411] expected at most 64 levels of nesting, found more`},
		{"a byte order mark", "\ufeff" + row, 0, `0[0:27] not JSON: unexpected byte 239 'ï' at 0`},
	} {
		b := event.NewBatch(s)
		accepted, refused := NewDecoder(s).Rows(b, []byte(c.payload), 1)
		if accepted != c.accepted || b.Len() != accepted {
			t.Errorf("%s: %d accepted, batch of %d, want %d", c.name, accepted, b.Len(), c.accepted)
		}
		var got []string
		for _, r := range refused {
			got = append(got, fmt.Sprintf("%d[%d:%d] %v", r.Index, r.Start, r.End, r.Err))
		}
		if got := strings.Join(got, "\n"); got != c.refused {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.refused)
		}
	}
}

func TestAFloodOfRefusedRowsIsCut(t *testing.T) {
	s := schema("S", event.Attr{Name: "a", Type: event.Int})
	payload := []byte("[" + strings.Repeat("0,", RefusedMax+50) + `{"a":1}]`)
	accepted, refused := NewDecoder(s).Rows(event.NewBatch(s), payload, 1)
	if accepted != 0 || len(refused) != RefusedMax+1 {
		t.Fatalf("%d accepted, %d refused", accepted, len(refused))
	}
	last := refused[RefusedMax]
	if last.Err.(*RowError).Problem != TooMany || last.End != len(payload) {
		t.Errorf("the last refusal is %+v", last)
	}
}
