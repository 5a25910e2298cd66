// Package streamfiles checks the JetStream stream files of a NATS server before the server
// starts.
//
// Left alone, a server that rebuilds a stream from its files cuts it at the first damaged
// record, without an error: what comes after is gone, and its sequences are used again. It
// leaves out a stream whose settings are damaged, and then writes a new stream over the
// messages. A damaged sequence makes it allocate memory without bound. This package
// therefore takes damaged records out itself. Later records stay, no sequence is used
// twice, and a reader finds a hole where the record was. The original of each file that it
// changes is kept.
//
// Read check.go, then stream.go (one stream), block.go (records), meta.go (settings) and
// repair.go. Package witness knows where each log must end.
package streamfiles
