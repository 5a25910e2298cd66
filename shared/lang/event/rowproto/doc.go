// Package rowproto reads Protocol Buffers messages into the rows of a batch. Package rowjson
// reads JSON, and has the kinds of errors of both.
//
// A payload is one message and one row. Each attribute is a field of the message, or of a
// message inside it. A decoder reads the wire format straight into columns: it decodes only
// the fields on the way to attributes, and allocates nothing for a row that is accepted.
//
// A field becomes a value as follows:
//
//   - A field that is not set is null if Protocol Buffers can tell (optional, oneof, proto2,
//     a field of a message that is not set), or its declared default; else it is zero.
//   - string takes a string (UTF-8), an enum's name, or bytes as base64.
//   - long takes the 32-bit and 64-bit integers, and a google.protobuf.Timestamp in ms.
//   - float and double take numbers that are finite.
//
// Fields that the descriptors lack are skipped, and rows that have some are counted.
package rowproto
