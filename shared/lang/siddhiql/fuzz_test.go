package siddhiql

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzParse holds that no text makes parser, printer or checker panic, that
// printing loses nothing, and that what is printed checks as the text does.
func FuzzParse(f *testing.F) {
	for _, text := range scriptInputs(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		app, err := Parse(text)
		if err != nil {
			wantErrorList(t, err)
			return
		}
		printed := app.String()
		again, err := Parse(printed)
		if err != nil {
			t.Fatalf("printed text does not parse: %v\n%s", err, printed)
		}
		if second := again.String(); second != printed {
			t.Fatalf("printed twice, it differs:\n%s\n%s", printed, second)
		}
		plan, err := Check(app)
		planAgain, errAgain := Check(again)
		if (err == nil) != (errAgain == nil) {
			t.Fatalf("checked %v, but as printed %v:\n%s", err, errAgain, printed)
		}
		if err != nil {
			wantErrorList(t, err)
		}
		if clearPositions(app); err == nil {
			clearPositions(plan)
			clearPositions(planAgain)
			if !reflect.DeepEqual(plan, planAgain) {
				t.Fatalf("the plans differ:\n%s\n%s", planText(plan), planText(planAgain))
			}
		}
		if clearPositions(again); !reflect.DeepEqual(app, again) {
			t.Fatalf("the tree changed on its way through the text:\n%s", printed)
		}
	})
}

func wantErrorList(t *testing.T, err error) {
	var list ErrorList
	if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("expected an ErrorList, found %#v", err)
	}
	for i, e := range list {
		if e.Pos.Line < 1 || e.Pos.Column < 1 || e.Msg == "" || strings.Contains(e.Msg, "%!") {
			t.Fatalf("error %d is not one: %#v", i, e)
		}
	}
}

// scriptInputs returns the inputs of all scripts.
func scriptInputs(tb testing.TB) []string {
	paths, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("scripts: %v, found %d", err, len(paths))
	}
	var list []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		for part := range strings.SplitSeq("\n"+string(text), "\n\n") {
			head, _, _ := strings.Cut("\n"+part, "\n----")
			for cmd, before := range map[string]string{"parse": "", "check": "", "query": prelude} {
				if _, input, ok := strings.Cut(head, "\n"+cmd+"\n"); ok {
					list = append(list, before+input)
				}
			}
		}
	}
	return list
}

// clearPositions sets every Pos that x refers to to zero.
func clearPositions(x any) { clearValue(reflect.ValueOf(x), map[uintptr]bool{}) }

func clearValue(v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.Pointer()] {
			seen[v.Pointer()] = true
			clearValue(v.Elem(), seen)
		}
	case reflect.Interface:
		if !v.IsNil() {
			clearValue(v.Elem(), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			clearValue(v.Index(i), seen)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Pos]() {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			clearValue(v.Field(i), seen)
		}
	}
}

// TestRoundTrip runs the law of FuzzParse on the seeds' printed forms, so that a
// printer that drops a clause is noticed even where the parser drops it, too.
func TestRoundTrip(t *testing.T) {
	const text = `@app:name('X')
@app:playback
@source(subject='a.b')
@map(type='json', @attributes('x', y.z='q', 'a-b'='c'))
define stream ` + "`my stream`" + ` (a int, ` + "`end`" + ` string, c object);
define stream T (a int);
@info(name='q1')
from ` + "`my stream`" + `[a > 5 and (a < 3 or not (a == 4))]#window.length(5, 'x', "it's", """say "it's" now""", 1 week 2 sec, -3L, 1.5f, -0.0, 1e+21, true)[` + "`end`" + ` is null]
select a - (a - 1) - 2 as x, count(*) as c, f(a, T.b, #U.c) is null as n, 0 - a * (3 + a) as y
group by a, T.b
having x > 5
order by x desc, c
limit 5
offset 1L
insert all events into Out;
@sink(pack='ndjson')
partition with (a of T, a < 5 as 'low' or a >= 5 as 'high' of ` + "`my stream`" + `)
begin
  @info(name='q2')
  from T
  select *
  insert expired events into #U;
  from #U
  select *
  insert into V;
end;
`
	app, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := app.String(); got != text {
		t.Errorf("found\n%s\nexpected\n%s", got, text)
	}
}
