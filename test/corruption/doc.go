// Package corruption damages every kind of file in the data folder of one process, and
// checks that EventFlux never hides it. The kinds come from the folder itself: a file that
// belongs to no kind of kinds.go fails the test, so a new file gets its line there.
//
// Each case takes a copy of a data folder with two apps in a chain, checkpoints, and events
// after the newest checkpoint. The process that wrote it was stopped, or killed. The case
// damages one file, starts the real binary, publishes some more events, and compares both
// output streams with those of eventflux replay:
//
//	right    all results of all acknowledged events are there, each once and in order
//	refused  the process does not start, and names a file or a stream
//	halted   a task, or doctor, says what is wrong
//
//	silent   results are missing or wrong, and nothing says so
//	crash    the process panics, or gives no reason
//	hang     it neither becomes ready nor ends
//
// The last three are failures. The short form is part of make test. The long form is
// make corruption: 40 positions for each kind and damage. It prints a table of all cases.
//
// Read kinds.go, damage.go, then case_test.go and matrix_test.go.
package corruption
