package aggregate

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// A slot's state is written without a version: the schema version of the component that
// holds it, Spec.Version, says how to read it. An empty slot has no bytes, and every other
// state has exactly one form.

// stateBytes reads what AppendState wrote.
type stateBytes struct {
	wire.Reader
}

func readState(src []byte) *stateBytes { return &stateBytes{wire.New(src)} }

// count reads how often a value is present: at least once.
func (r *stateBytes) count() int64 {
	n := r.Uvarint()
	if n == 0 || n > math.MaxInt64 {
		r.Fail("a value that is present %d times", n)
	}
	return int64(n)
}

// appendFloat writes all NaNs alike: processors differ in the NaN that an addition yields.
func appendFloat(dst []byte, v float64) []byte {
	if v != v {
		v = math.NaN()
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// key reads a key that follows the one before, if there is one.
func (r *stateBytes) key(before int64, first bool) int64 {
	if first {
		return r.Varint()
	}
	key := before + int64(r.Uvarint())
	if !r.Failed() && key <= before {
		r.Fail("value %d follows %d", key, before)
	}
	return key
}

func appendKey(dst []byte, key, before int64, first bool) []byte {
	if first {
		return binary.AppendVarint(dst, key)
	}
	return binary.AppendUvarint(dst, uint64(key)-uint64(before))
}

// end returns the first error; unread bytes are one.
func (r *stateBytes) end(name string) error {
	if err := r.End(); err != nil {
		return fmt.Errorf("state of %s: %w", name, err)
	}
	return nil
}
