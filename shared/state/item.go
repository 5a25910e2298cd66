package state

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Item is a part of a component's state as people read it, such as a row of a window
// or a group.
type Item struct {
	// Key names it within its component: a group's values, or the number of a row. In a
	// partition it begins with the partition key and a slash.
	Key string
	// Entry is the key of the entry that it is stored in, or of the first of several.
	Entry []byte
	Value json.RawMessage
}

// ItemName writes a text as a part of an item's key: as it is, or in quotes where it could
// be taken for something else.
func ItemName(text string) string {
	if text == "" || text == "null" || text == "all" || strings.ContainsAny(text, "/,\"") {
		return strconv.Quote(text)
	}
	return text
}

// Lister is a Source that can say in words what it holds. It is optional: without it
// entries are shown as bytes.
type Lister interface {
	// Items calls visit with each item, in the order of the state where that means
	// something; false, without a call, if this one cannot say. What visit gets is its own.
	Items(visit func(Item)) bool
	// Item returns the value that an item has now, which has these names; false if there is
	// none. It costs little, whatever the number of items.
	Item(key string, entry []byte) (json.RawMessage, bool)
}
