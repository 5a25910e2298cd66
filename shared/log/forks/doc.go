// Package forks merges the checkpoints of two forks of an app into one, by comparing both with
// the checkpoint that they come from. A change that only one fork made is taken from that fork.
// Different changes of the same key are a conflict, which a strategy decides for each key. Package
// engine says which components have keys, and which can only be taken whole.
package forks
