package memory_test

import (
	"testing"

	"eventflux/shared/store"
	"eventflux/shared/store/memory"
	"eventflux/shared/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) func() store.Store {
		s := memory.New()
		return func() store.Store { return s }
	})
}
