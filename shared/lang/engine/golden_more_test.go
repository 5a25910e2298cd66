package engine_test

import (
	"strings"
	"testing"
)

// moreApp has windows and aggregators that came after those of goldenApp.
const moreApp = `@app:name('golden')
define stream S (k string, g int, v int, d double, t long, f float, b bool, o object);
define stream T (k string, v long);
@info(name = 'latest') from S#window.unique:externalTimeBatch(k, t, 2 sec) select k, v, d insert all events into O1;
@info(name = 'timed') from S#window.unique:externalTimeBatch(g, t, 1 sec, 0, 300 millisec, true) select g, t, o insert all events into O2;
@info(name = 'about') from S select g, approx:percentile(d, 95) as p, approx:percentile(v, 10) as q, approx:distinctCount(k) as nk,
approx:distinctCount(t) as nt, approx:distinctCount(f) as nf group by g insert into O3;
@info(name = 'joined') from S#window.length(90) select str:groupConcat(k) as a, str:groupConcat(k, ';', true, 'DESC') as b insert into O4;
`

var moreSet = goldenSet{moreApp, "testdata/golden-more", func(id string) bool {
	return strings.HasSuffix(id, "/window") || strings.HasSuffix(id, "/aggregate")
}}

// The same for windows and aggregators that came later.
func TestGoldenStatesOfMore(t *testing.T) { moreSet.checkStates(t) }

func TestAlteredEntriesOfMoreAreSurvived(t *testing.T) { moreSet.checkAltered(t) }
