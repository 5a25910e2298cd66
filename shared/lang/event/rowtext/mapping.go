package rowtext

// Mapping says where a message has the rows and their attributes: as CSV or as text, one of
// the two.
type Mapping struct {
	// Optional makes an attribute null that is not there.
	Optional bool
	CSV      *CSV
	Text     *Text
}

// CSV is the form of records.
type CSV struct {
	Delimiter rune
	// Header says that the first record of each message is a header. It names the
	// attributes, unless Columns is set.
	Header bool
	// Columns has the column of each attribute, from 0; nil: they are in the order of the
	// schema, or as the header says.
	Columns []int
}

// Text finds attributes in a text.
type Text struct {
	Regexes []Regex
	// Groups has the group of each attribute; nil: the only attribute is the whole text.
	Groups []Group
}

// Regex is a regular expression and its name.
type Regex struct {
	Name, Expr string
}

// Group is a group of a regular expression; 0 is the whole match.
type Group struct {
	Regex, Number int
}
