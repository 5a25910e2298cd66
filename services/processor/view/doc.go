// Package view keeps the newest row of a result stream, for each key, in a KV bucket
// (@sink(kv='TOTALS', key='{shop}')). It reads the rows from the output stream of a partition,
// where they are durable and in order. Package processor runs a view beside the task that owns
// the partition.
//
//	EFO_shop_0 ──▶ reading ──▶ newest row of each key ──▶ $KV.TOTALS.<key>, compare-and-set
//	                  │
//	EF_LINKS   ◀──────┘ how far the bucket has the rows
//
// # Guarantees
//
//   - A row is valid unless a later generation starts at or before its position: the first result of
//     a generation voids all results of earlier ones from there on. In the end, each key has its
//     newest valid row, of the rows that the output stream still has.
//   - Within a generation, a key never goes back to an older row. Each value carries its position
//     (entry.go), and is written only if the bucket's is the one that it was compared with.
//     So two processes that write at once do no harm.
//   - The record in EF_LINKS only saves work. Without one, the bucket is filled again: all rows are
//     read from the output stream, and then keys without a valid row are deleted.
//
// # Fills
//
//	no record, or another bucket,      all rows read       keys without
//	output stream or definition  ──▶ filling ──▶ sweep ──▶ a row deleted ──▶ following
//	                                    ▲                                       │
//	                                    └── a generation voids values, or ──────┘
//	                                        somebody else has written
//
// Read view.go, resume.go, reading.go, batch.go, entry.go, sweep.go, record.go.
package view
