package compress_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// A sealed block knows its codec and its lengths, and damage to any of its bytes is an error.
func ExampleSeal() {
	block := []byte(strings.Repeat("departed on time; ", 1000))
	sealed := compress.Seal(nil, block, compress.Choice{Codec: compress.LZ4})
	fmt.Println("smaller:", len(sealed) < len(block)/10)

	opened, err := compress.Open(nil, sealed, 1<<20) // at most 1 MiB
	fmt.Println("same:", string(opened) == string(block), err)

	_, err = compress.Open(nil, sealed, 100)
	fmt.Println(err)

	sealed[20] ^= 1
	_, err = compress.Open(nil, sealed, 1<<20)
	fmt.Println("damaged:", errors.Is(err, compress.ErrCorrupt))
	// Output:
	// smaller: true
	// same: true <nil>
	// corrupt envelope: a block of 18000 bytes, allowed are 100 (at byte 2)
	// damaged: true
}

// Auto chooses a codec for each block, and says why.
func ExampleSealExplain() {
	sealed, why := compress.SealExplain(nil, []byte("short"), compress.Choice{})
	e, err := compress.Inspect(sealed)
	fmt.Println(e.Codec, e.RawLen, e.StoredLen, err)
	fmt.Println(why.Codec == e.Codec)
	// Output:
	// none 5 5 <nil>
	// true
}
