// Package recovery answers questions about the past of apps, and takes them back to it:
// which checkpoint leads to an instant and what that costs, whether a checkpoint is what
// its log gives, what state was or is, what changed and by which events.
//
// It decides nothing by itself. It rebuilds tasks beside the live ones (shared/log/rebuild),
// reads logs, results and the store, and asks the checkpointer to make it so: a restore
// is a checkpoint that tasks load, in a new generation of the app.
//
//	request ──▶ plan ──▶ verify ──▶ load ──▶ replay to the target ──▶ answer
//	                                                  └─▶ runs ──▶ checkpointer: restore
//
// What takes long is a job: the answer is its id, and its progress is published on
// ef.recovery.job.<id>. Any number of processes may answer; each keeps its own jobs.
//
// Read service.go, api.go (what is asked and answered), app.go and target.go, plan.go
// (the choice), rebuild.go, then verify.go, show.go, diff.go, restore.go and job.go.
package recovery
