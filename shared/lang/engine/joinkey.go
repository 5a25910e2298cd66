package engine

import (
	"math"
	"math/bits"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// rowKey computes the key of a row for an index: values that are equal as conditions compare
// them have equal keys. The values of one key are kept until the next.
type rowKey struct {
	parts  []keyExpr
	values []keyValue
}

// keyExpr is one expression of a key, compiled for its class.
type keyExpr struct {
	class event.Class
	whole intFn
	real  realFn
	text  textFn
}

// keyValue is a value of a key: a word, or a text.
type keyValue struct {
	word uint64
	text string
}

func newRowKey(exprs []siddhiql.Expr, classes []event.Class) *rowKey {
	k := &rowKey{values: make([]keyValue, len(exprs))}
	for i, x := range exprs {
		p := keyExpr{class: classes[i]}
		switch p.class {
		case event.Reals:
			p.real = compileReal(x)
		case event.Texts:
			p.text = compileText(x)
		default:
			p.whole = compileInt(x)
		}
		k.parts = append(k.parts, p)
	}
	return k
}

// of computes the key of a row and its hash; false if a part is null or NaN, which is equal to
// nothing.
func (k *rowKey) of(r *row) (hash uint64, ok bool) {
	for i := range k.parts {
		p, v := &k.parts[i], &k.values[i]
		switch p.class {
		case event.Reals:
			x, ok := p.real(r)
			if !ok || x != x {
				return 0, false
			}
			v.word = math.Float64bits(x + 0) // -0.0 becomes 0.0
		case event.Texts:
			if v.text, ok = p.text(r); !ok {
				return 0, false
			}
			v.word = hashText(v.text)
		default:
			x, ok := p.whole(r)
			if !ok {
				return 0, false
			}
			v.word = uint64(x)
		}
		hash = mix(hash ^ v.word)
	}
	return hash, true
}

// equal reports whether the keys that k and o computed last are equal.
func (k *rowKey) equal(o *rowKey) bool {
	for i := range k.values {
		a, b := &k.values[i], &o.values[i]
		if a.word != b.word || k.parts[i].class == event.Texts && a.text != b.text {
			return false
		}
	}
	return true
}

// exact reports whether keys with equal hashes are equal: a single word decides its hash.
func (k *rowKey) exact() bool { return len(k.parts) == 1 && k.parts[0].class != event.Texts }

// mix is a bijection that spreads a word over all bits.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// hashText hashes a text. Nothing that is stored or put out depends on the hash.
func hashText(s string) uint64 {
	const m1, m2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db
	h := uint64(len(s)) ^ m1
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		hi, lo := bits.Mul64(h^w, m2)
		h = hi ^ lo
		s = s[8:]
	}
	w := uint64(0)
	for i := range len(s) {
		w |= uint64(s[i]) << (8 * i)
	}
	hi, lo := bits.Mul64(h^w, m1)
	return hi ^ lo
}
