// Package natsconn connects to NATS: it has the server embedded in the process, the
// connections to it or to an external one, the names of subjects and JetStream streams, and
// the streams' settings that the other packages rely on. shared/log/wal and the services
// decide what the streams contain.
//
// Read durability.go, names.go, embedded.go, connect.go, streams.go, gather.go, sync.go.
package natsconn
