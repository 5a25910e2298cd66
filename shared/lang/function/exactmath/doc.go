// Package exactmath computes the functions of package math with the same bits on every
// processor. Package math does not: it has assembly for some processors, and on others the
// compiler fuses multiplications and additions.
//
// Everything is computed with pairs of float64, which have about 100 bits, and is rounded once
// at the end. Results are right to the last bit except in cases that are very close to half a
// unit of it. The package uses only operations whose result is fixed by IEEE 754, and converts
// each product explicitly, which keeps the compiler from fusing it.
package exactmath
