package ingest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	csvApp = `@app:name('csv')
@source(subject='shop.csv', @map(type='csv', delimiter=';', header='true'))
define stream Orders (customer string, total double);
from Orders select customer, total insert into Out;`
	textApp = `@app:name('text')
@source(subject='shop.raw', @map(type='text'))
define stream Raw (line string);
@source(subject='shop.lines', @map(type='text', regex.A='(\w+) paid ([\d.]+)', @attributes(customer='A[1]', total='A[2]')))
define stream Orders (customer string, total double);
from Raw select line insert into Out;
from Orders select customer, total insert into Paid;`
)

// TestEventsOfCSV: the records of a message, compressed or not, reach the log as rows, and
// the wrong ones are answered and become dead letters.
func TestEventsOfCSV(t *testing.T) {
	r := start(t, nil, csvApp)
	orders := "total;x;customer\n1.5;;a\n;;\"b;c\"\nmuch;;d\n"
	for _, encoding := range []string{"", "gzip", "zstd"} {
		payload, headers := orders, []string{"Ef-Chunk", "1"}
		if encoding != "" {
			payload, headers = compressed(t, encoding, orders), append(headers, "Content-Encoding", encoding)
		}
		ack := r.ask("shop.csv", payload, headers...)
		want := `record 3: column 0 (total): expected double, found "much"`
		if ack.Error == nil || ack.RejectedCount != 1 || ack.Rejected[0].Index != 2 || !strings.HasSuffix(ack.Rejected[0].Reason, want) {
			t.Errorf("%s: %+v", encoding, ack)
		}
	}
	r.end()
	if got, row := r.logged("csv", 0), `Orders +0 chunk ["a",1.5] ["b;c",null]`; !slices.Equal(got, []string{row, row, row}) {
		t.Errorf("logged %q", got)
	}
	dead := r.dead("csv")
	if len(dead) != 3 {
		t.Errorf("%d dead letters", len(dead))
	}
	for _, line := range dead {
		if !strings.HasPrefix(line, `dlq.csv.Orders much;;d `) {
			t.Errorf("dead letter %s", line)
		}
	}
	if n := r.svc.Info().Streams[0].Ignored; n != 6 {
		t.Errorf("%d events have columns that are ignored, want 6", n)
	}
}

// TestMapsOfOneSubject: apps with equal streams and different maps each read a message in
// their own way.
func TestMapsOfOneSubject(t *testing.T) {
	app := func(name, delimiter string) string {
		return fmt.Sprintf(`@app:name('%s') @source(subject='a.b', @map(type='csv', delimiter='%s'))
define stream S (a string, b string); from S select a, b insert into Out;`, name, delimiter)
	}
	r := start(t, nil, app("comma", ","), app("semicolon", ";"))
	if ack := r.ask("a.b", "x;y,z"); ack.Error != nil {
		t.Errorf("%+v", ack)
	}
	r.end()
	for name, want := range map[string]string{"comma": `["x;y","z"]`, "semicolon": `["x","y,z"]`} {
		if got := r.logged(name, 0); len(got) != 1 || !strings.HasSuffix(got[0], " "+want) {
			t.Errorf("app %s logged %q, want %s", name, got, want)
		}
	}
}

// TestEventsOfText: each message is an event with the groups of a regular expression.
func TestEventsOfText(t *testing.T) {
	r := start(t, nil, textApp)
	if ack := r.ask("shop.lines", "today ann paid 2.5"); ack.Error != nil {
		t.Errorf("%+v", ack)
	}
	if ack := r.ask("shop.lines", "ann pays"); ack.Error == nil || !strings.Contains(ack.Rejected[0].Reason, `customer: expected a match of regex.A, found "ann pays"`) {
		t.Errorf("%+v", ack)
	}
	if ack := r.ask("shop.raw", "a\n\"b\""); ack.Error != nil {
		t.Errorf("%+v", ack)
	}
	r.end()
	if got := r.logged("text", 0); !slices.Equal(got, []string{`Orders +0 ["ann",2.5]`, `Raw +0 ["a\n\"b\""]`}) {
		t.Errorf("logged %q", got)
	}
	if dead := r.dead("text"); len(dead) != 1 || !strings.HasPrefix(dead[0], "dlq.text.Orders ann pays ") {
		t.Errorf("dead letters %q", dead)
	}
}

// TestRecordsOfAStream: the messages of a JetStream stream may be CSV.
func TestRecordsOfAStream(t *testing.T) {
	r := start(t, nil, originApp(`, @map(type='csv', @attributes(n='1'))`))
	r.orders()
	r.order("orders.x", "a,1\nb,2")
	r.order("orders.x", "c,three")
	r.order("orders.x", "d,4")
	r.readTo(3)
	r.end()
	if got := r.numbers("next", 0)["$JS.ORDERS"]; !slices.Equal(got, []int{1, 2, 4}) {
		t.Errorf("logged %v", got)
	}
	if dead := r.dead("next"); len(dead) != 1 || !strings.HasPrefix(dead[0], "dlq.next.In c,three ") {
		t.Errorf("dead letters %q", dead)
	}
}
