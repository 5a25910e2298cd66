package corruption

// open has the kinds of files whose damage EventFlux does not handle yet, and what happens.
// They show in the table, and do not fail the test. The list only gets shorter.
var open = map[string]string{
	"Raft: log":      "a damaged Raft database ends in a panic, and an empty or missing one starts a new group",
	"results: block": "a flipped bit in a result is not noticed after a clean stop",
}
