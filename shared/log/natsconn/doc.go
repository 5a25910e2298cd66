// Package natsconn is the way to NATS: the server embedded in the process, the
// connections to it or to an external one, the names of subjects and JetStream
// streams, and the streams' settings that the rest relies on. What is written to
// the streams is left to shared/log/wal and the services.
//
// Read durability.go, names.go, embedded.go, connect.go, streams.go, gather.go, sync.go.
package natsconn
