package cloud

import "context"

// Inspector is a Bucket whose settings can be read.
type Inspector interface {
	// Inspect returns the settings of the bucket that can lose checkpoints.
	Inspect(ctx context.Context) ([]string, error)
}

// Inspect returns the settings of the bucket that can lose checkpoints, as far as they can be
// read.
func (s *Store) Inspect(ctx context.Context) ([]string, error) {
	if b, ok := s.bucket.(Inspector); ok {
		return b.Inspect(ctx)
	}
	return nil, nil
}
