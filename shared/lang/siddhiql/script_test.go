package siddhiql

import (
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// prelude saves the scripts of checks from defining the same streams again.
const prelude = `define stream S (name string, v int, l long, f float, d double, b bool, o object); `

// TestScripts runs testdata/*.txt:
//
//	parse   prints the text in its normal form, or the errors
//	check   prints the plan, or the errors
//	automaton prints the patterns of the queries, as `app show` does
//	deployed  the same for the text of an app that was deployed before
//	warnings  prints what `app check` warns of
//	query   the same after a line that defines stream S (see prelude)
//	features  prints, for each line `feature: app`, whether the app is accepted, after acceptance
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "parse":
				return parseText(d.Input)
			case "check":
				return checkText(d.Input)
			case "warnings":
				plan, err := Compile(d.Input)
				if err != nil {
					return err.Error() + "\n"
				}
				return plan.Warnings.Error() + "\n"
			case "automaton":
				plan, err := Compile(d.Input)
				if err != nil {
					return err.Error() + "\n"
				}
				var text strings.Builder
				for _, q := range plan.Queries {
					text.WriteString(q.Automaton())
				}
				return text.String()
			case "deployed":
				return planOf(CompileDeployed(d.Input))
			case "query":
				return strings.ReplaceAll(checkText(prelude+"\n"+d.Input), "stream 0 S(name string, v int, l long, f float, d double, b bool, o object) defined subject=events.S\n", "")
			case "features":
				return features(d.Input)
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
				return ""
			}
		})
	})
}

func parseText(text string) string {
	app, err := Parse(text)
	if err != nil {
		return err.Error() + "\n"
	}
	return app.String()
}

// checkText checks a text for services that get their answers on answers.>.
func checkText(text string) string { return planOf(Compile(text, "answers")) }

func planOf(plan *Plan, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	return planText(plan)
}

// acceptance is what the apps of the command features have in common.
const acceptance = `define stream A (k string, v int); define stream B (k string, w int); define stream X (k string);
define stream E (k string, v int, l long, f float, d double, b bool, o object);
@PrimaryKey('k') define table T (k string, v int); define table U (k string, v int); @PrimaryKey('k', 'v') @Index('v') define table P (k string, v int);
define window N (k string, v int) length(3); define trigger Tick at every 1 sec;
`

var atPlace = regexp.MustCompile(`(?m)^\d+:\d+: `)

func features(lines string) string {
	var table strings.Builder
	for _, line := range strings.Split(lines, "\n") {
		feature, app, _ := strings.Cut(line, ": ")
		_, err := Compile(acceptance + app)
		switch {
		case err == nil:
			table.WriteString(feature + ": accepted\n")
		case !atPlace.MatchString(err.Error()):
			table.WriteString(feature + ": refused without a place: " + err.Error() + "\n")
		default:
			message := strings.ReplaceAll(atPlace.ReplaceAllString(err.Error(), ""), "\n", " | ")
			table.WriteString(feature + ": refused: " + message + "\n")
		}
	}
	return table.String()
}
