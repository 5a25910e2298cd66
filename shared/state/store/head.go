package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// keptHead is a head as backends keep it. Version 0.x wrote no checksum.
type keptHead struct {
	Head
	CRC *uint32 `json:"crc32c,omitempty"` // of the JSON of Head
}

// EncodeHead returns a head as backends keep it, with a checksum.
func EncodeHead(h Head) ([]byte, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	sum := wire.CRC(data)
	data, err = json.Marshal(keptHead{h, &sum})
	return append(data, '\n'), err
}

// DecodeHead reads what EncodeHead wrote. It returns an error that says what is damaged.
func DecodeHead(data []byte) (h Head, err error) {
	var f keptHead
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields() // a flipped bit in a key must not hide its value
	if err := d.Decode(&f); err != nil {
		return h, err
	}
	if d.More() {
		return h, errors.New("there is more after the JSON object")
	}
	if f.CRC == nil {
		return f.Head, nil
	}
	encoded, err := json.Marshal(f.Head)
	if err != nil {
		return h, err
	}
	if sum := wire.CRC(encoded); sum != *f.CRC {
		return h, fmt.Errorf("its CRC32C is %d, and it says %d", sum, *f.CRC)
	}
	return f.Head, nil
}
