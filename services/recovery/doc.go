// Package recovery restores apps to an earlier state and answers questions about it: which
// checkpoint a restore starts from and what the restore costs, whether a checkpoint equals
// a replay of its log, what the state is or was, and which events changed it.
//
// It decides nothing. It rebuilds tasks beside the live ones (shared/log/rebuild), reads
// logs, results and the store, and asks the checkpointer for the restore: a checkpoint that
// tasks load in a new generation of the app.
//
//	request ──▶ plan ──▶ verify ──▶ load ──▶ replay to the target ──▶ answer
//	                                                  └─▶ runs ──▶ checkpointer: restore
//
// Long operations run as jobs: the answer is the job's id, and progress is published on
// ef.recovery.job.<id>. Any number of processes may answer; each keeps its own jobs.
//
// A shadow runs the next version of an app beside it, and compares the results (shared/log/shadow).
// Raft has the shadow, so it outlives the process: whichever recovery process finds that no
// other one runs it does so, from its checkpoint.
//
// Read service.go, api.go (requests and answers), app.go and target.go, plan.go (which
// checkpoint), rebuild.go, then verify.go, show.go, diff.go, restore.go and job.go, and shadows.go
// with shadowrun.go.
package recovery
