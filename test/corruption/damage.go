package corruption

import (
	"bytes"
	"math/rand/v2"
)

// damages are the ways to damage a file. A function returns the new content, and false if nothing
// changed. A nil content deletes the file.
var damages = []struct {
	name string
	do   func(rnd *rand.Rand, now, old []byte) ([]byte, bool)
}{
	{"flip", func(rnd *rand.Rand, now, _ []byte) ([]byte, bool) {
		if len(now) == 0 {
			return nil, false
		}
		after := bytes.Clone(now)
		after[rnd.IntN(len(after))] ^= 1 << rnd.IntN(8)
		return after, true
	}},
	{"truncate", func(rnd *rand.Rand, now, _ []byte) ([]byte, bool) {
		if len(now) < 2 {
			return nil, false
		}
		return now[:1+rnd.IntN(len(now)-1)], true
	}},
	{"empty", func(_ *rand.Rand, now, _ []byte) ([]byte, bool) { return []byte{}, len(now) > 0 }},
	{"delete", func(*rand.Rand, []byte, []byte) ([]byte, bool) { return nil, true }},
	{"old copy", func(_ *rand.Rand, now, old []byte) ([]byte, bool) {
		return old, old != nil && !bytes.Equal(old, now)
	}},
}
