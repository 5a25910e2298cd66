package model

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"

	"pgregory.net/rapid"
)

// TestGeneratedAppsCompile checks that the compiler accepts every generated app.
func TestGeneratedAppsCompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := GenApp(t, Options{Windows: known(Windows...), Tables: rapid.Bool().Draw(t, "tables")})
		if _, err := siddhiql.Compile(app); err != nil {
			t.Fatalf("%v\n%s", err, app)
		}
	})
}
