package rowjson

import (
	"bytes"
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// The reference reads rows with encoding/json and numbers with math/big, slowly
// and without any code of this package.

func depth(raw []byte) int {
	dec := json.NewDecoder(bytes.NewReader(raw))
	now, deepest := 0, 0
	for {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			now++
		case json.Delim('}'), json.Delim(']'):
			now--
		}
		deepest = max(deepest, now)
	}
}

var (
	escapes = regexp.MustCompile(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([0-9a-fA-F]{4})|.)`)
	half    = regexp.MustCompile(`^[dD][89a-fA-F]`)
)

// referenceRow returns the texts of a row's cells, or nil if it is wrong.
func referenceRow(s *event.Schema, raw []byte) []string {
	if !utf8.Valid(raw) {
		return nil
	}
	for _, match := range escapes.FindAllSubmatch(raw, -1) {
		if half.Match(match[1]) {
			return nil
		}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil
	}
	cells := make([]string, len(s.Attrs))
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil
		}
		i := s.Index(key.(string))
		if i < 0 || cells[i] != "" {
			return nil
		}
		if cells[i] = referenceCell(s.Attrs[i].Type, value); cells[i] == "" {
			return nil
		}
	}
	for _, cell := range cells {
		if cell == "" {
			return nil
		}
	}
	return cells
}

// referenceCell returns the text of a value, or "" if it does not fit the type.
func referenceCell(t event.Type, raw json.RawMessage) string {
	isNumber := strings.IndexByte("-0123456789", raw[0]) >= 0
	switch {
	case string(raw) == "null":
		return "null"
	case t == event.Object:
		var compact bytes.Buffer
		if json.Compact(&compact, raw) != nil {
			return ""
		}
		return strconv.Quote(compact.String())
	case t == event.String && raw[0] == '"':
		var v string
		if json.Unmarshal(raw, &v) != nil {
			return ""
		}
		return strconv.Quote(v)
	case t == event.Bool && (raw[0] == 't' || raw[0] == 'f'):
		return string(raw)
	case isNumber && t == event.Int:
		return referenceInteger(string(raw), 32)
	case isNumber && t == event.Long:
		return referenceInteger(string(raw), 64)
	case isNumber && t == event.Float:
		return referenceReal(string(raw), 32)
	case isNumber && t == event.Double:
		return referenceReal(string(raw), 64)
	}
	return ""
}

func referenceReal(raw string, bits int) string {
	v, err := strconv.ParseFloat(raw, bits)
	if err != nil {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// referenceInteger computes with fractions. Exponents of many digits, which would
// cost it a day, belong to zero or to numbers that are no integer of 64 bits.
func referenceInteger(raw string, bits uint) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(raw), "e")
	if strings.Trim(mantissa, "-0.") == "" {
		return "0"
	}
	if len(strings.TrimLeft(exponent, "+-0")) > 4 {
		return ""
	}
	v, ok := new(big.Rat).SetString(raw)
	if !ok || !v.IsInt() {
		return ""
	}
	limit := new(big.Int).Lsh(big.NewInt(1), bits-1)
	if v.Num().Cmp(limit) >= 0 || v.Num().Cmp(limit.Neg(limit)) < 0 {
		return ""
	}
	return v.Num().String()
}

// referenceValues is referenceRow for one row alone, an array of values or an object, with
// nothing after it.
func referenceValues(s *event.Schema, data []byte) []string {
	data = bytes.Trim(data, " \t\r\n")
	if !json.Valid(data) || depth(data) > depthMax {
		return nil
	}
	if data[0] != '[' {
		return referenceRow(s, data)
	}
	var values []json.RawMessage
	if json.Unmarshal(data, &values) != nil || len(values) != len(s.Attrs) {
		return nil
	}
	fields := make([][]byte, len(values))
	for i, v := range values {
		fields[i] = append([]byte(strconv.Quote(s.Attrs[i].Name)+": "), v...)
	}
	return referenceRow(s, append(append([]byte{'{'}, bytes.Join(fields, []byte{','})...), '}'))
}
