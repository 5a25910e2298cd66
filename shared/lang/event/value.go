package event

// Value is one value outside a column: an argument or a result of an aggregator
// or a function. Its type is known from elsewhere: Int has Bool (as 0 and 1), Int
// and Long, Real has Float and Double, Text has String and Object. A text that is
// passed as an argument is valid during the call only.
type Value struct {
	Int  int64
	Real float64
	Text string
	Null bool
}
