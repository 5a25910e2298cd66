// Package checkpoint has what a checkpoint is made of: runs of sorted entries in
// compressed, checksummed blocks, the manifest that names them, and the chains of
// runs by which state is stored incrementally. Where objects are kept is
// shared/state/store's business; when checkpoints are made, services/checkpointer's.
package checkpoint
