package siddhiql

import "strings"

// reserved lists the words that are not read as names in some places where a name could
// appear. The printer puts such names in back-quotes.
var reserved = []string{
	"and", "as", "asc", "begin", "by", "define", "desc", "end", "false", "from", "group", "having", "in",
	"insert", "into", "is", "limit", "not", "null", "of", "offset", "or", "order", "partition", "select", "true",
}

func isReserved(name string) bool {
	for _, w := range reserved {
		if strings.EqualFold(w, name) {
			return true
		}
	}
	return false
}

// outside names features that Siddhi has and this language has not, by a word that
// introduces or reveals them.
var outside = map[string]string{
	"delete":      "tables, and so `delete`, are",
	"update":      "tables, and so `update`, are",
	"return":      "`return` is",
	"table":       "tables are",
	"function":    "script functions are",
	"aggregation": "incremental aggregations are",
}
