// Package faults runs the real binary as a process of its own, or several of them as a
// cluster, and lets go wrong what can: kills at random moments and at each step of a
// checkpoint, a merge and a restore, stops, frozen leaders, wrong starts, damaged, full and
// missing disks, clocks that are set. The steps are the points of shared/testing/faultpoint, which
// the binary under test is built with.
// Whatever happens, the output streams must hold what `eventflux replay` makes of
// the same events offline, each result once and in order; where that cannot be,
// the process must say so. How the language computes results is test/model's
// business.
//
// TestCluster has a whole cluster go through all kinds of troubles at random: three NATS
// servers, three checkpointers, processors, ingests, Redis. Its parts meet over links that
// can be cut between any two of them. It prints its seed, and each trouble with the time.
//
//	soak_linux_test.go ──▶ troubles, feed ──▶ fleet ──▶ links, helpers
//
// Its long form is `make fault-test`. TestRollingUpgrade has such a cluster go from one version
// to the next, and back.
//
// The long form of the others, which `make faults` runs, has more kills, steps and events
// and a binary with the race detector. It also says how long others take to take over.
package faults
