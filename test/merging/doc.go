// Package merging has the tests of checkpointer and merger together: a task that is as
// difficult as tasks can be makes checkpoints while mergers fold and sweep. Raft, the NATS
// server and the services are real; the task has state in a map.
//
// The long form, which `make faults` runs too, makes 10,000 checkpoints.
package merging
