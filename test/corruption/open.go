package corruption

// open has the kinds of files whose damage EventFlux does not handle yet, and what happens.
// They show in the table, and do not fail the test. The list only gets shorter.
var open = map[string]string{}
