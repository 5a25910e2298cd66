package siddhiql

import "testing"

func TestSuggest(t *testing.T) {
	windows := []string{"length", "lengthBatch", "time", "timeBatch", "externalTime", "session", "sort"}
	functions := []string{"count", "sum", "min", "max", "distinctCount", "ifThenElse", "coalesce"}
	for _, test := range []struct {
		name       string
		candidates []string
		want       string
	}{
		{"lenght", windows, "length"},
		{"lengthbatch", windows, "lengthBatch"},
		{"TIME", windows, "time"},
		{"tme", windows, "time"},
		{"externaltimes", windows, "externalTime"},
		{"sesion", windows, "session"},
		{"cron", windows, ""},
		{"length", windows, ""}, // the name itself is no suggestion
		{"COUNT", functions, "count"},
		{"distinctcount", functions, "distinctCount"},
		{"summ", functions, "sum"},
		{"IfThenElse", functions, "ifThenElse"},
		{"coalesc", functions, "coalesce"},
		{"avg", functions, ""},
		{"m", functions, ""}, // one letter says nothing
		{"selct", []string{"select", "insert"}, "select"},
		{"inset", []string{"select", "insert"}, "insert"},
		{"ms", []string{"max", "min"}, ""},
		{"", functions, ""},
	} {
		if got := suggest(test.name, test.candidates); got != test.want {
			t.Errorf("suggest(%q) = %q, expected %q", test.name, got, test.want)
		}
	}
}

func TestDidYouMeanType(t *testing.T) {
	for name, want := range map[string]string{
		"strng": "`string`", "String": "`string`", "integer": "`int`", "bigint": "`long`", "flaot": "`float`", "doubel": "`double`", "Boolean": "`bool`", "obj": "there is",
	} {
		if got := didYouMeanType(name); !containsText(got, want) {
			t.Errorf("type %q: %q, expected %q in it", name, got, want)
		}
	}
}
