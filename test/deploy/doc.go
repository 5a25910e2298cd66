// Package deploy tests what is in the folder of that name without an engine for
// containers: NATS servers on loopback with the very configuration files, users and
// certificates, and the processes of compose.yaml with the settings that it gives them.
//
// Read nats_test.go (the servers), users_test.go (who may do what), tls_test.go (who is
// let in), compose_test.go (the files), stack_test.go and cluster_test.go (all of it at
// work).
package deploy
