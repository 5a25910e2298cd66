// Package wal appends frames to the log of a partition, reads them back, and
// checks that no sequence is missing. The bytes of a frame are
// shared/lang/frame's business, the settings of the JetStream stream shared/log/natsconn's, and
// what frames mean the engine's.
//
// A Writer groups: while one frame is on its way to the disk, what arrives fills
// the next one.
//
//	Append ──▶ open group ──full──▶ queue ──▶ encoded ahead ──▶ in flight ──▶ Committed
//	                │                                               │  ▲
//	                └────────── nothing in flight ──────────────────┘  └ repeated unchanged
//	                                                                     until acknowledged
//
// flight.go decides when a frame is sent again; WriterConfig.AttemptTimeout is the first wait.
//
// Read errors.go, message.go, group.go, writer.go, run.go and flight.go for
// writing, reader.go and pump.go for reading.
package wal
