package ingest

import (
	"strings"
	"testing"
)

func TestRefusedMessages(t *testing.T) {
	r := start(t, func(c *Config) { c.EventBytesMax = 2000 }, flightsApp,
		`@app:name('b') @source(subject='quakes.in') define stream Quakes (mag double); from Quakes select mag insert into Out;`)
	row := `{"origin":"a","delay":1}`
	for _, c := range []struct {
		name, subject, payload string
		headers                []string
		code                   errCode
		text                   string // in the description
		dead                   bool
	}{
		{"no JSON", "events.Flights", "hello", nil, eventsRefused, "1 of 1 events refused: event 0: not JSON", true},
		{"nothing", "events.Flights", "", nil, eventsRefused, "event 0: no event in the message", true},
		{"half an object", "events.Flights", `{"origin":"a"`, nil, eventsRefused, "not JSON", true},
		{"wrong type", "events.Flights", `{"origin":"a","delay":"abc"}`, nil, eventsRefused, `event 0: delay: expected int, found string "abc"`, true},
		{"unknown attribute", "events.Flights", `{"origin":"a","dely":1}`, nil, eventsRefused, `unknown attribute "dely" (did you mean "delay"?)`, true},
		{"missing attribute", "events.Flights", `{"origin":"a"}`, nil, eventsRefused, `missing attribute "delay"`, true},
		{"out of range", "events.Flights", `{"origin":"a","delay":2147483648}`, nil, eventsRefused, "-2147483648 to 2147483647", true},
		{"invalid UTF-8", "events.Flights", "{\"origin\":\"\xff\",\"delay\":1}", nil, eventsRefused, "expected UTF-8", true},
		{"nesting without end", "events.Flights", strings.Repeat("[", 1900), nil, eventsRefused, "nesting", true},
		{"bad timestamp", "events.Flights", row, []string{"Ef-Timestamp", "yesterday"}, badHeader, "expected ms since 1970 or RFC 3339", true},
		{"late timestamp", "events.Flights", row, []string{"Ef-Timestamp", "253402300800000"}, badHeader, "years 1 to 9999", true},
		{"early timestamp", "events.Flights", row, []string{"Ef-Timestamp", "-62135596800001"}, badHeader, "years 1 to 9999", true},
		{"huge timestamp", "events.Flights", row, []string{"Ef-Timestamp", "99999999999999999999"}, badHeader, "expected ms", true},
		{"bad chunk", "events.Flights", row, []string{"Ef-Chunk", "yes"}, badHeader, "expected 1 or 0", true},
		{"demand", "events.Flights", row, []string{"Nats-Expected-Last-Sequence", "4"}, badHeader, "ingest cannot guarantee what it asks for", true},
		{"too large", "events.Flights", strings.Repeat(" ", 2001), nil, tooLarge, "message of 2001 bytes, limit 2000 (ingest.event_bytes_max)", false},
		{"unknown stream", "events.Flight", row, nil, unknownStream, "streams that exist: Flights of app a (subject events.Flights), Quakes of app b (subject quakes.in)", false},
		{"not on this subject", "events.Quakes", row, nil, unknownStream, "no deployed app reads events.Quakes", false},
	} {
		deadBefore := r.svc.Info().Refused
		ack := r.ask(c.subject, c.payload, c.headers...)
		if ack.Error == nil || ack.Seq != 0 || ack.Error.ErrCode != c.code || ack.Error.Code != c.code.code() || !strings.Contains(ack.Error.Description, c.text) {
			t.Errorf("%s: answer %+v %+v", c.name, ack, ack.Error)
		}
		if refused := r.svc.Info().Refused > deadBefore; refused != (c.code != unknownStream) {
			t.Errorf("%s: counted as refused: %v", c.name, refused)
		}
	}
	r.end()
	if lines := r.logged("a", 0); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
	if n := len(r.dead("a")); n != 15 {
		t.Errorf("%d dead letters, want 15", n)
	}
	if info := r.svc.Info(); info.Unknown != 2 || info.Dropped != 0 || info.DeadLost != 0 {
		t.Errorf("%+v", info)
	}
}

// The good rows of a batch are accepted. The bad ones become dead letters with the published
// bytes and the reason.
func TestBatchWithBadRows(t *testing.T) {
	r := start(t, nil, flightsApp)
	payload := `{"origin":"a","delay":1}
{"origin":"b","delay":"late"}
nonsense
{"origin":"c","delay":3}
`
	ack := r.ask("events.Flights", payload, "Nats-Msg-Id", "m1", "Ef-Timestamp", "5")
	if ack.Stream != "EFW_a_0" || ack.Seq != 1 || ack.Accepted != 2 || ack.RejectedCount != 2 ||
		len(ack.Rejected) != 2 || ack.Rejected[0].Index != 1 || ack.Rejected[1].Index != 2 || ack.Rejected[0].App != "" {
		t.Fatalf("%+v", ack)
	}
	if want := `2 of 4 events refused: event 1: delay: expected int, found string "late"; event 2: not JSON: `; !strings.HasPrefix(ack.Error.Description, want) {
		t.Error(ack.Error.Description)
	}
	r.end()
	equal(t, "log", r.logged("a", 0), []string{`Flights +0 id=m1 ["a",1]@5 ["c",3]@5`})
	equal(t, "dead letters", r.dead("a"), []string{
		`dlq.a.Flights {"origin":"b","delay":"late"} Ef-Arrived=1700000000000 Ef-Index=1 Ef-Msg-Id=m1 Ef-Reason=delay: expected int, found string "late" Ef-Subject=events.Flights Ef-Timestamp=5`,
		`dlq.a.Flights nonsense` + "\n" + ` Ef-Arrived=1700000000000 Ef-Index=2 Ef-Msg-Id=m1 Ef-Reason=` + ack.Rejected[1].Reason + ` Ef-Subject=events.Flights Ef-Timestamp=5`,
	})
}

func TestManyBadRowsAreCountedAndListedInPart(t *testing.T) {
	r := start(t, nil, flightsApp)
	ack := r.ask("events.Flights", strings.Repeat("{}\n", 500)+`{"origin":"a","delay":1}`)
	if ack.Accepted != 1 || ack.RejectedCount != 500 || len(ack.Rejected) != rejectedMax || ack.Seq == 0 {
		t.Errorf("accepted %d, refused %d, listed %d", ack.Accepted, ack.RejectedCount, len(ack.Rejected))
	}
	r.end()
	if n := len(r.dead("a")); n != 500 {
		t.Errorf("%d dead letters", n)
	}
}
