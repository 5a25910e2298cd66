package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/eventflux/eventflux/services/recovery"
)

// partialMatch is an item of the state of a pattern.
type partialMatch struct {
	Events   json.RawMessage `json:"events"` // by step, in order
	WaitsFor []string        `json:"waits_for"`
	Until    *int64          `json:"until"` // ms
}

// printMatch prints a partial match: a line for each event that it has, and one for what it
// waits for. It returns false if the item is none.
func printMatch(w io.Writer, i recovery.Item) bool {
	var m partialMatch
	if err := json.Unmarshal(i.Value, &m); err != nil || len(m.WaitsFor) == 0 {
		return false
	}
	steps, err := members(m.Events)
	if err != nil {
		return false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "match %s\n", i.Key)
	for _, s := range steps {
		var events []json.RawMessage
		if err := json.Unmarshal(s.value, &events); err != nil {
			return false
		}
		for _, e := range events {
			if err := printMatched(&b, s.name, e); err != nil {
				return false
			}
		}
	}
	fmt.Fprintf(&b, "  waits for %s", strings.Join(m.WaitsFor, ", or "))
	if m.Until != nil {
		fmt.Fprintf(&b, ", until %s", instantText(*m.Until))
	}
	fmt.Fprintln(w, b.String())
	return true
}

// printMatched prints an event of a partial match.
func printMatched(b *strings.Builder, step string, event json.RawMessage) error {
	values, err := members(event)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "  %s", step)
	for _, v := range values {
		var ms int64
		if v.name == "ts" && json.Unmarshal(v.value, &ms) == nil {
			fmt.Fprintf(b, " at %s", instantText(ms))
			continue
		}
		fmt.Fprintf(b, " %s=%s", v.name, v.value)
	}
	b.WriteByte('\n')
	return nil
}

func instantText(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z") }

// member is a member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members reads the members of a JSON object in the order written.
func members(object json.RawMessage) (list []member, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%s is no JSON object", object)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		m := member{name: name}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}
