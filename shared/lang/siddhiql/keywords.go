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

// outside names features that Siddhi or SQL has and this language has not, by a word that introduces
// or reveals them, and says what to write instead.
var outside = map[string]string{
	"return":      "`return` is outside the language here: end the query with `insert into` and read the stream",
	"function":    "script functions are outside the language here: use the functions that `eventflux app functions` lists, or write one in Go for a build of your own",
	"aggregation": "incremental aggregations are outside the language here: write a query for each granularity, such as `from S#window.timeBatch(1 min) select k, sum(v) as total group by k insert into PerMinute`",
	"where":       "a condition stands in square brackets after the stream, as in `from S[v > 3]`",
	"like":        "write `str:contains(s, 'text')`, `str:startsWith(s, 'text')` or `regex:find('expression', s)`",
	"between":     "write `x >= low and x <= high`",
	"when":        "write `ifThenElse(condition, value, otherwise)`",
	"distinct":    "write `distinctCount(attribute)`",
}
