// Package checkpoint holds the parts of a checkpoint: runs of sorted entries in compressed,
// checksummed blocks, the manifest that names them, and the chains of runs that store state
// incrementally. Package store keeps the objects; services/checkpointer decides when to
// make checkpoints.
package checkpoint
