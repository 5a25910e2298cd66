// Package processor runs tasks. A task reads the log of one partition of an app, applies
// its frames, and appends the results to the partition's output stream: each result once,
// even if processes die at any moment.
//
// This works because a task is a function of its log (shared/lang/engine), so a replay
// gives the same results at the same positions. A task that takes over first appends a
// fence to the output stream, which makes later writes of a former owner fail. Then it
// reads the position of the last result, replays the log, and emits the results after that
// position.
//
//	      ┌──────────┐   fence    ┌────────────┐  last result  ┌─────────┐
//	──▶   │ starting ├──────────▶ │ replaying  ├─────────────▶ │ running │
//	      └────┬─────┘            └─────┬──────┘    passed      └────┬────┘
//	           └────────── gap, corrupt frame, fenced, panic ────────┤
//	                                    ▼                            ▼
//	                              ┌──────────┐                 ┌──────────┐
//	                              │  halted  │                 │ drained  │
//	                              └──────────┘                 └──────────┘
//
// A halted task stays halted, reports why in the process log and in the service's info, and
// does not affect other tasks.
//
// A task (task.go) tries to run its partition until that succeeds or cannot. Each attempt has
// its own state, in layers:
//
//	owner    publishes results, takes part in checkpoints, appends ticks │ standby keeps results
//	replica  the state, restored from a checkpoint, and the reader of the log
//	program  the version of the app in force; only control frames change it
//	task     the partition, and what lasts longer than an attempt
//
// A standby that is promoted hands its replica to an owner (promotion.go).
//
// Read service.go, then task.go, owner.go (the loop), takeover.go (fence and position), lost.go
// (a log that is too short), restore.go, program.go, standby.go, render.go (rows to messages),
// outbox.go and emitter.go (messages to the output stream), cut.go and saver.go (checkpoints).
package processor
