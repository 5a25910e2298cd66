// Package merging tests checkpointer and merger together: a task makes checkpoints, and is as
// difficult as a task can be, while mergers fold and sweep. Raft, the NATS server and the services
// are real; the task keeps its state in a map.
//
// `make faults` also runs the long form, with 10,000 checkpoints.
package merging
