// Package siddhiql reads the SiddhiQL language: text to syntax tree (Parse),
// syntax tree to text (App.String), and syntax tree to a checked Plan (Check).
// Running a plan is the business of shared/engine.
package siddhiql

import "fmt"

// Pos is a place in an app's text; lines and columns count from 1, columns in
// characters.
type Pos struct {
	Line, Column int
}

func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }
