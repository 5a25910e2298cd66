package siddhiql

import "testing"

func TestWithPartitionsChangesTheNumberAlone(t *testing.T) {
	const rest = "define stream S (k string, v int);\npartition with (k of S) begin @info(name='q') from S select k, v insert into Out; end;"
	for _, c := range []struct{ before, after string }{
		{"@app:name('A') @app:partitions('2')\n" + rest, "@app:name('A') @app:partitions('8')\n" + rest},
		{"-- ä\n@app:name('A') /* é */ @App:Partitions(\"12\")\n" + rest, "-- ä\n@app:name('A') /* é */ @App:Partitions('8')\n" + rest},
		{"@app:name('A')\n" + rest, "@app:partitions('8')\n@app:name('A')\n" + rest},
	} {
		got, err := WithPartitions(c.before, 8)
		if err != nil || got != c.after {
			t.Errorf("%s\nbecomes\n%s\nerror %v, want\n%s", c.before, got, err, c.after)
			continue
		}
		before, err1 := Compile(c.before)
		after, err2 := Compile(got)
		if err1 != nil || err2 != nil || after.Partitions != 8 || before.Name != after.Name || len(before.Queries) != len(after.Queries) {
			t.Errorf("%s: %v, %v", got, err1, err2)
		}
	}
}
