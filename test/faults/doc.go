// Package faults runs the real binary, as one process or as a cluster, and injects faults: kills at
// random moments and at each step of a checkpoint, a merge and a restore, stops, frozen leaders,
// refused starts, damaged, full and missing disks, and clock steps. The binary is built with the
// fault points of shared/testing/faultpoint.
//
// Afterwards the output streams must hold exactly what `eventflux replay` computes offline from the
// same events, each result once and in order. Where that is impossible, the process must say so.
// Package test/model checks how the language computes results.
//
// TestCluster puts a whole cluster through random troubles: three NATS servers, three
// checkpointers, processors, ingests, Redis. All connections run through links, which can cut any
// pair of processes apart. The test prints its seed, and each trouble with its time.
//
//	soak_linux_test.go ──▶ troubles, feed ──▶ fleet ──▶ links, helpers
//
// Its long form is `make fault-test`. TestRollingUpgrade moves such a cluster to the next version
// and back.
//
// `make faults` runs the long form of the other tests: more kills, steps and events, and a binary
// with the race detector. It also measures how long takeovers take.
package faults
