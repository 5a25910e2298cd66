package state

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Item is a part of a component's state in a readable form, such as a row of a window or a
// group.
type Item struct {
	// Key names it within its component: a group's values, or the number of a row. In a
	// partition it starts with the partition key and a slash.
	Key string
	// Entry is the key of the entry that stores it, or of the first of several.
	Entry []byte
	Value json.RawMessage
}

// ItemName writes a text as a part of an item's key: as it is, or in quotes if it would be
// ambiguous.
func ItemName(text string) string {
	if text == "" || text == "null" || text == "all" || strings.ContainsAny(text, "/,\"") {
		return strconv.Quote(text)
	}
	return text
}

// Lister is a Source that can describe its content to people. It is optional: without it
// entries are shown as bytes.
type Lister interface {
	// Items calls visit with each item, in the order of the state if that means something;
	// false, without a call, if this source cannot. visit owns what it gets.
	Items(visit func(Item)) bool
	// Item returns the present value of the item with these names; false if there is none.
	// It costs little, whatever the number of items.
	Item(key string, entry []byte) (json.RawMessage, bool)
}
