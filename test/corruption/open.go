package corruption

// open has the kinds of files and damages that EventFlux does not notice yet, with the
// reason. They show in the table, and do not fail the test. The list only gets shorter.
var open = map[string]string{}
