// Package siddhiql reads the SiddhiQL language: text to syntax tree (Parse), syntax tree to
// text (App.String), and syntax tree to a checked Plan (Check). Package engine runs a plan.
//
// The language is a subset of Siddhi's, in this grammar:
//
//	app        = { ';' | annotation | definition | query | partition }  ';' between two of them
//	annotation = '@' word [':' word] ['(' elem {',' elem} ')']          @app:… stand first
//	elem       = [key '='] string | annotation
//	definition = 'define' 'stream' name '(' name type {',' name type} ')'
//	query      = 'from' stream {handler} [selection] 'insert' [events] 'into' stream
//	stream     = ['#'] name                                             # is inner to a partition
//	handler    = ['#'] '[' expr ']' | '#' ['window' '.'] name '(' [expr {',' expr}] ')'
//	selection  = 'select' ('*' | item {',' item})
//	             ['group' 'by' attr {',' attr}] ['having' expr]
//	             ['order' 'by' attr ['asc' | 'desc'] {',' …}] ['limit' expr] ['offset' expr]
//	item       = attr | expr 'as' name
//	events     = ['all' | 'expired' | 'current'] 'events'
//	partition  = 'partition' 'with' '(' key {',' key} ')' 'begin' query {';' query} 'end'
//	key        = expr 'of' name | expr 'as' string {'or' expr 'as' string} 'of' name
//	attr       = [stream '.'] name
//	expr       = attr | name '(' [expr {',' expr}] ')' | literal | '(' expr ')'
//	             | attr-or-call 'is' 'null' | 'not' expr | expr operator expr
//
// From tight to loose, operators bind: not; * / %; + -; < <= > >=; == !=; and; or. Keywords
// may be in upper or lower case. They are read as names wherever only a name makes sense;
// names in back-quotes are never keywords.
package siddhiql

import "fmt"

// Pos is a position in an app's text; lines and columns count from 1, columns in
// characters.
type Pos struct {
	Line, Column int
}

func (p Pos) before(q Pos) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Column < q.Column
}

func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }
