package wal

// Bytes returns what the rows take in memory until they are durable, as
// PendingBytesMax counts it. A caller that feeds several writers bounds their sum
// with it.
func (m *Message) Bytes() int { return m.bytes() }

// MessageBytesMax is the limit of Message.Bytes, beyond which appends fail with
// ErrTooLarge. It depends on what the server takes.
func (w *Writer) MessageBytesMax() int { return w.messageBytesMax }
