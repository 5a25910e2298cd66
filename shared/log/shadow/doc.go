// Package shadow runs two versions of an app over the same log and compares their results,
// result stream by result stream and cause by cause. A cause is the event or the timer that
// results follow from: one more row never shifts the rest. Positions only locate rows. Package
// rebuild runs a version, and the callers provide the log and show the report.
//
// Read pair.go, then comparer.go, then align.go and report.go.
package shadow
