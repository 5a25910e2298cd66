// Package rowavro reads Avro data into the rows of a batch. Package rowjson reads JSON, and
// has the kinds of errors of both.
//
// A payload is one row in Avro's binary encoding, without a schema: a record of the mapping's
// schema. Package github.com/twmb/avro reads the schema; a decoder then reads the payload
// straight into columns. It allocates nothing for a row that is accepted.
//
// Each attribute is a field of the record, or of a record inside it. A union with null makes
// it null; if a record on the way is null, so are the attributes inside. A value becomes an
// attribute as follows:
//
//   - string takes a string (UTF-8), an enum's symbol, and bytes and fixed as base64.
//   - long takes int and long as they are, also those with a logical type.
//   - float and double take numbers that are finite.
package rowavro
