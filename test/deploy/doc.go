// Package deploy tests the folder deploy without a container engine: NATS servers on loopback with
// the real configuration files, users and certificates, and the processes of compose.yaml with
// their settings.
//
// Read nats_test.go (the servers), users_test.go (who may do what), tls_test.go (who may connect),
// compose_test.go (the files), stack_test.go and cluster_test.go (all of it running).
package deploy
