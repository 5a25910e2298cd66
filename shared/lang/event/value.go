package event

// Value is one value outside a column: an argument or a result of an aggregator or a
// function. The context gives its type: Int holds Bool (as 0 and 1), Int and Long, Real
// holds Float and Double, Text holds String and Object. A text argument is valid during the
// call only.
type Value struct {
	Int  int64
	Real float64
	Text string
	Null bool
}
