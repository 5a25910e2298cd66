package corruption

// open lists the kinds of files whose damage EventFlux does not handle yet, with the outcome. They
// appear in the table, but do not fail the test. Entries may only be removed.
var open = map[string]string{}
