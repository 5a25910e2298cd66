package shadow

import (
	"bytes"
	"slices"

	"github.com/go-faster/jx"
)

// exactMax bounds the exact alignment of two lists: the product of their lengths.
const exactMax = 1 << 16

// equal reports whether two rows are the same. Attributes that only one version has do not
// count.
func (g *group) equal(a, b *row) bool {
	if a.ts != b.ts || a.kind != b.kind {
		return false
	}
	if bytes.Equal(g.text[a.from:a.to], g.text[b.from:b.to]) {
		return true
	}
	return !sameNames(a.attrs, b.attrs) && bytes.Equal(g.common(a, b.attrs), g.common(b, a.attrs))
}

func sameNames(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// common returns the members of a row that the other version has as well, sorted by name.
func (g *group) common(r *row, others []string) []byte {
	all := members(g.text[r.from:r.to])
	names := make([]string, 0, len(all))
	for name := range all {
		if slices.Contains(others, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var text []byte
	for _, name := range names {
		text = append(append(append(text, name...), ':'), all[name]...)
		text = append(text, ',')
	}
	return text
}

// members returns the members of a JSON object that AppendObject wrote.
func members(text []byte) map[string]jx.Raw {
	all := map[string]jx.Raw{}
	err := jx.DecodeBytes(text).ObjBytes(func(d *jx.Decoder, name []byte) error {
		value, err := d.Raw()
		all[string(name)] = value
		return err
	})
	if err != nil {
		panic("shadow: a row is not JSON: " + err.Error())
	}
	return all
}

// align visits the rows of both versions in order: a row of each if the two correspond, or one
// without a partner. Equal rows correspond wherever they are; between two equal ones, the
// others correspond by their places.
func (g *group) align(visit func(a, b *row)) {
	old, next := g.rows[oldSide], g.rows[newSide]
	head := 0
	for head < len(old) && head < len(next) && g.equal(&old[head], &next[head]) {
		visit(&old[head], &next[head])
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(next)-head && g.equal(&old[len(old)-1-tail], &next[len(next)-1-tail]) {
		tail++
	}
	a, b := old[head:len(old)-tail], next[head:len(next)-tail]
	var anchors []anchor
	switch {
	case len(a) == 0 || len(b) == 0:
	case len(a)*len(b) <= exactMax:
		anchors = g.exact(a, b)
	default:
		anchors = g.unique(a, b)
	}
	i, j := 0, 0
	for _, at := range append(anchors, anchor{len(a), len(b)}) {
		for i < at.a || j < at.b {
			var x, y *row
			if i < at.a {
				x = &a[i]
				i++
			}
			if j < at.b {
				y = &b[j]
				j++
			}
			visit(x, y)
		}
		if i < len(a) && j < len(b) {
			visit(&a[i], &b[j])
			i, j = i+1, j+1
		}
	}
	for n := tail; n > 0; n-- {
		visit(&old[len(old)-n], &next[len(next)-n])
	}
}

// anchor is a pair of equal rows.
type anchor struct{ a, b int }

// exact returns a longest common subsequence.
func (g *group) exact(a, b []row) []anchor {
	width := len(b) + 1
	longest := make([]int32, (len(a)+1)*width) // of what starts there
	same := make([]bool, len(a)*len(b))
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if same[i*len(b)+j] = g.equal(&a[i], &b[j]); same[i*len(b)+j] {
				longest[i*width+j] = longest[(i+1)*width+j+1] + 1
			} else {
				longest[i*width+j] = max(longest[(i+1)*width+j], longest[i*width+j+1])
			}
		}
	}
	var found []anchor
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case same[i*len(b)+j]:
			found = append(found, anchor{i, j})
			i, j = i+1, j+1
		case longest[(i+1)*width+j] >= longest[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	return found
}

// unique pairs the nth occurrence of a row in a with its nth in b, and returns the longest list
// of pairs that is in order in both. It finds a longest common subsequence if no row occurs
// twice.
func (g *group) unique(a, b []row) []anchor {
	type occurrence struct {
		row string
		n   int
	}
	places, count := map[occurrence]int{}, map[string]int{}
	for j := range b {
		r := g.identity(&b[j], a[0].attrs)
		places[occurrence{r, count[r]}] = j
		count[r]++
	}
	clear(count)
	var pairs []anchor
	for i := range a {
		r := g.identity(&a[i], b[0].attrs)
		if j, ok := places[occurrence{r, count[r]}]; ok {
			pairs = append(pairs, anchor{i, j})
		}
		count[r]++
	}
	return increasing(pairs)
}

// identity is a text that two rows share if they are equal.
func (g *group) identity(r *row, others []string) string {
	text := g.text[r.from:r.to]
	if !sameNames(r.attrs, others) {
		text = g.common(r, others)
	}
	head := []byte{byte(r.kind)}
	for shift := 0; shift < 64; shift += 8 {
		head = append(head, byte(r.ts>>shift))
	}
	return string(append(head, text...))
}

// increasing returns a longest part of pairs, which have increasing a, with increasing b.
func increasing(pairs []anchor) []anchor {
	ends := []int{}                     // by length: the pair that a list of this length ends with
	previous := make([]int, len(pairs)) // in the list that ends with a pair
	for n, p := range pairs {
		at, _ := slices.BinarySearchFunc(ends, p.b, func(end, b int) int { return pairs[end].b - b })
		previous[n] = -1
		if at > 0 {
			previous[n] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, n)
		} else {
			ends[at] = n
		}
	}
	if len(ends) == 0 {
		return nil
	}
	found := make([]anchor, len(ends))
	for n, at := len(ends)-1, ends[len(ends)-1]; n >= 0; n, at = n-1, previous[at] {
		found[n] = pairs[at]
	}
	return found
}
