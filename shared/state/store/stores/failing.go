package stores

import (
	"context"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// failing is a store whose calls fail when a test wants it.
type failing struct{ store.Store }

// failable returns s as it is, unless there are fault points.
func failable(s store.Store, err error) (store.Store, error) {
	if err != nil || !faultpoint.Enabled {
		return s, err
	}
	return failing{s}, nil
}

// Unwrap returns the store that is wrapped.
func (f failing) Unwrap() store.Store { return f.Store }

// Put implements store.Store.
func (f failing) Put(ctx context.Context, name string, data []byte) error {
	if err := faultpoint.Fail(faultpoint.StorePut); err != nil {
		return err
	}
	return f.Store.Put(ctx, name, data)
}

// Get implements store.Store.
func (f failing) Get(ctx context.Context, name string) ([]byte, error) {
	if err := faultpoint.Fail(faultpoint.StoreGet); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, name)
}

// GetRange implements store.Ranger.
func (f failing) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if err := faultpoint.Fail(faultpoint.StoreGet); err != nil {
		return nil, err
	}
	return store.GetRange(ctx, f.Store, name, offset, n)
}

// List implements store.Store.
func (f failing) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	if err := faultpoint.Fail(faultpoint.StoreList); err != nil {
		return err
	}
	return f.Store.List(ctx, prefix, visit)
}

// Delete implements store.Store.
func (f failing) Delete(ctx context.Context, name string, since time.Time) error {
	if err := faultpoint.Fail(faultpoint.StoreDelete); err != nil {
		return err
	}
	return f.Store.Delete(ctx, name, since)
}

// Commit implements store.Store.
func (f failing) Commit(ctx context.Context, c store.Commit) error {
	if err := faultpoint.Fail(faultpoint.StoreCommit); err != nil {
		return err
	}
	return f.Store.Commit(ctx, c)
}
