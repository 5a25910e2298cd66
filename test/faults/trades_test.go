package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// message is one published message: mostly one event, sometimes several.
type message struct {
	id     string
	ts     int64    // of its events
	rows   []string // JSON objects
	chunk  bool
	events int // number of events up to and including this message
	lines  int // number of lines of replay's input, up to and including this message
	clock  int64
}

const (
	firstTrade = 1_000_000_000_000 // ms
	firstLine  = 2_000_000_000_000 // ms; events arrive after they happen
	symbols    = 12
)

// trades makes messages with n events, or a few more.
func trades(rnd *rand.Rand, n int) []message {
	var all []message
	last := message{ts: firstTrade, clock: firstTrade}
	for last.events < n {
		m := message{id: "m" + strconv.Itoa(len(all)), clock: last.clock}
		rows := 1
		switch rnd.IntN(40) {
		case 0:
			rows = 2 + rnd.IntN(4)
		case 1:
			rows, m.chunk = 2+rnd.IntN(4), true
		}
		m.ts = m.clock + rnd.Int64N(40)
		switch rnd.IntN(100) {
		case 0:
			m.ts += 10_000 // empties the time windows
		case 1, 2, 3:
			m.ts -= 700 // late: the clock does not move
		}
		m.clock = max(m.clock, m.ts)
		m.events, m.lines = last.events+rows, last.lines+rows
		symbol := rnd.IntN(symbols)
		if m.chunk {
			m.lines = last.lines + 1
		}
		for i := range rows {
			if !m.chunk { // the rows of a chunk share a key; otherwise partitions would split it
				symbol = rnd.IntN(symbols)
			}
			m.rows = append(m.rows, fmt.Sprintf(`{"id":%d,"symbol":"S%d","price":%d.%02d,"size":%d}`,
				last.events+i, symbol, 10+rnd.IntN(40), rnd.IntN(100), 1+rnd.IntN(100)))
		}
		all = append(all, m)
		last = m
	}
	return all
}

// msg returns the NATS message.
func (m *message) msg(reply string) *nats.Msg {
	data := m.rows[0]
	if len(m.rows) > 1 {
		data = "[" + strings.Join(m.rows, ",") + "]"
	}
	h := nats.Header{nats.MsgIdHdr: {m.id}, "Ef-Timestamp": {strconv.FormatInt(m.ts, 10)}}
	if m.chunk {
		h["Ef-Chunk"] = []string{"1"}
	}
	return &nats.Msg{Subject: "events.Trades", Reply: reply, Header: h, Data: []byte(data)}
}

// replayLines returns the messages as input of replay. A message's number is its arrival time.
func replayLines(messages []message) string {
	var b strings.Builder
	for i, m := range messages {
		if m.chunk {
			fmt.Fprintf(&b, `{"stream":"Trades","ts":%d,"event_ts":%d,"rows":[%s]}`+"\n", firstLine+i, m.ts, strings.Join(m.rows, ","))
			continue
		}
		for _, row := range m.rows {
			fmt.Fprintf(&b, `{"stream":"Trades","ts":%d,"event_ts":%d,"data":%s}`+"\n", firstLine+i, m.ts, row)
		}
	}
	return b.String()
}

// answer is the answer to a publisher.
type answer struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Error  *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// readAnswer returns an error unless m says that everything is durable.
func readAnswer(m *nats.Msg) error {
	if status := m.Header.Get("Status"); status != "" {
		return fmt.Errorf("status %s", status)
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("answer %q: %w", m.Data, err)
	}
	if a.Error != nil {
		return &refusal{a.Error.ErrCode, a.Error.Description}
	}
	if a.Stream == "" || a.Seq == 0 {
		return fmt.Errorf("answer %q names no place in a log", m.Data)
	}
	return nil
}

// refusal is an answer with an error.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.code, r.text) }
