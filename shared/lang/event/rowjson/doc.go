// Package rowjson reads JSON text into the rows of a batch and writes rows as JSON. It
// checks one message against one schema. Its callers know where messages come from, and
// what happens to a refused one. refuse.go has the text of each error, also for the packages
// beside this one, which read other formats.
//
// # What is accepted
//
// A message is one JSON object, an array of objects, or objects one after
// another (NDJSON; line breaks between them are customary, not required, and an
// object may span lines). Keys may come in any order; each attribute of the
// schema must be there exactly once, and nothing else.
//
//   - null is a null of any type.
//   - bool takes true and false only.
//   - int and long take whole numbers in range, exact to the last bit. 5.0 and
//     1e3 are whole and accepted; 5.5 is refused.
//   - double and float take any number, rounded once to the nearest 64- or 32-bit
//     value. What rounds to infinity is refused; what is too small becomes zero.
//   - string takes strings. A surrogate escape without its pair is refused, as
//     the text it stands for does not exist in UTF-8.
//   - object takes any value and keeps its JSON text without white space, as
//     written otherwise. Its depth counts: see below.
//
// Invalid UTF-8 is refused, and so is nesting deeper than 64.
//
// # What one bad row costs
//
// A refused row leaves nothing in the batch, and the others are accepted. After text that
// is not JSON at all, or nested too deep, the start of the next row is unknown: in an array,
// everything that follows is refused with it; elsewhere, reading continues at the next line
// that starts with a brace.
//
// # Two ways of reading
//
// Rows of the common shape are read in one pass by a scanner that knows the schema
// (fast.go); it never refuses. All others go to go-faster/jx, which is strict: fastjson,
// jsonparser and sonic, which are as fast or slower, accept bare control characters, and
// some of them leading zeros or unknown escapes. The little that jx lets pass is checked in
// row.go. Tests compare both ways with each other and with encoding/json.
//
// # What is written
//
// Doubles are written in the shortest form that reads back to the same value,
// floats in the shortest that reads back to the same 32 bits, without ".0" where
// they are whole. NaN and the infinities, which JSON lacks, are written as the
// strings "NaN", "Infinity" and "-Infinity" (and refused when read back).
package rowjson
