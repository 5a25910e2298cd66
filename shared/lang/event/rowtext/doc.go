// Package rowtext reads CSV and plain text into the rows of a batch. Package rowjson reads
// JSON, and has the kinds of errors of both.
//
// # CSV
//
// A message is one or more records as encoding/csv reads them: a field in quotes may contain
// delimiters, line breaks, and quotes that are written twice. Blank lines and a byte order
// mark at the start are skipped. Each record is a row. A field becomes a value by the type
// of its attribute:
//
//   - An empty field is null, in quotes or not.
//   - string takes the text as it is, with its blanks. It must be UTF-8.
//   - bool takes true and false. Numbers are written as in JSON, without blanks.
//
// A refused record leaves nothing in the batch, and the others are accepted. After a quote
// out of place, the start of the next record is unknown: all that follows is refused.
//
// # Text
//
// A message is one row. Either its only attribute is the whole message, or each attribute
// is a group of a regular expression, at its first match. An empty match is null.
package rowtext
