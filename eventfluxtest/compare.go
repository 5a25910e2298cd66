package eventfluxtest

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/big"
	"reflect"
	"slices"
)

// exactly decodes JSON without rounding numbers.
func exactly(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// equal compares values of JSON; 5 and 5.0 are the same number.
func equal(a, b any) bool {
	x, ok := a.(json.Number)
	y, both := b.(json.Number)
	if !ok || !both {
		return reflect.DeepEqual(a, b)
	}
	p, known := new(big.Rat).SetString(x.String())
	q, too := new(big.Rat).SetString(y.String())
	return known && too && p.Cmp(q) == 0
}

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
