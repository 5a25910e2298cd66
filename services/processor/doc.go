// Package processor runs tasks: each reads the log of one partition of an app,
// applies its frames, and appends what follows to the partition's output stream,
// every result once, whatever dies when.
//
// How that is: a task is a function of its log (shared/lang/engine), so a replay
// gives the same results at the same positions. A task that takes over first
// appends a fence to the output stream, which makes whatever a former owner still
// sends fail; then it reads the position of the last result, replays the log, and
// emits what comes after that position.
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
// A halted task stays halted, says why in the log and in the service's info, and
// does not touch the others.
//
// Read service.go, then task.go (the loop), takeover.go (fence and position), lost.go (a log that is too short),
// render.go (rows to messages), outbox.go (messages to the output stream).
package processor
