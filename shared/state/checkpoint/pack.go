package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/state/store"
)

// A pack is an object with the small runs of a checkpoint, one after the other. A run in a pack
// has the bytes that its own object would have: docs/formats/pack.md.
//
//	magic, version, runs
const (
	packMagic     = "EFPK"
	packVersion   = 1
	packHeadBytes = len(packMagic) + 1
	// packedBytesMax is the size of the largest run in a pack. The time of a larger one goes
	// into its bytes, and a request of its own does not matter.
	packedBytesMax = 256 << 10
	// packBytesMax ends a pack. It bounds the memory of a Packer and of readers, and what a
	// single run can keep alive.
	packBytesMax = 4 << 20
)

func packName(name string) string { return "packs/" + name }

// Object returns the name of the object that has the run: its own, or a pack.
func (r *Run) Object() string {
	if r.Pack != "" {
		return packName(r.Pack)
	}
	return runName(r.Name)
}

// wrongPack returns what no run says about its pack; "" if nothing.
func (r *Run) wrongPack() string {
	if r.Pack == "" && r.Offset == 0 && r.PackBytes == 0 {
		return ""
	}
	if !isSHA256(r.Pack) || r.Blocks != 1 || r.Offset < int64(packHeadBytes) || r.PackBytes > store.ObjectBytesMax || r.Bytes > r.PackBytes || r.Offset > r.PackBytes-r.Bytes {
		return fmt.Sprintf("run %s at %d in the pack %q of %d bytes", r.Name, r.Offset, r.Pack, r.PackBytes)
	}
	return ""
}

// Packer is a store that holds small runs back, until Flush puts them into packs. A checkpoint of
// many components costs few requests then. Everything else is put at once. Runs that are held can
// be read.
type Packer struct {
	store.Store
	workers int

	mu    sync.Mutex
	runs  map[string][]byte // by name of their own object
	bytes int
}

// NewPacker returns a Packer that puts packs into s, several at once.
func NewPacker(s store.Store, workers int) *Packer {
	return &Packer{Store: s, workers: max(workers, 1), runs: map[string][]byte{}}
}

// Put implements store.Store.
func (p *Packer) Put(ctx context.Context, name string, data []byte) error {
	if !strings.HasPrefix(name, runsFolder) || len(data) > packedBytesMax || !isInline(data) {
		return p.Store.Put(ctx, name, data)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := p.runs[name]; again {
		return fmt.Errorf("put %s: %w", name, store.ErrExists)
	}
	p.runs[name] = bytes.Clone(data)
	p.bytes += len(data)
	return nil
}

// Get implements store.Store.
func (p *Packer) Get(ctx context.Context, name string) ([]byte, error) {
	p.mu.Lock()
	data, held := p.runs[name]
	p.mu.Unlock()
	if held {
		return bytes.Clone(data), nil
	}
	return p.Store.Get(ctx, name)
}

// GetRange implements store.Ranger.
func (p *Packer) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	return store.GetRange(ctx, p.Store, name, offset, n)
}

// FlushFull is Flush if there is enough for a pack. It bounds the memory of long work.
func (p *Packer) FlushFull(ctx context.Context, lists ...[]Component) error {
	p.mu.Lock()
	full := p.bytes >= packBytesMax
	p.mu.Unlock()
	if !full {
		return nil
	}
	return p.Flush(ctx, lists...)
}

// Flush puts the runs that are held and that chains of these components refer to, and writes into
// the chains where they are. On return they are durable. It forgets all runs that were held. Nothing
// may be put at the same time.
func (p *Packer) Flush(ctx context.Context, lists ...[]Component) error {
	p.mu.Lock()
	held := p.runs
	p.runs, p.bytes = map[string][]byte{}, 0
	p.mu.Unlock()
	var names []string // in the order of components
	seen := map[string]bool{}
	eachHeld(lists, held, func(r *Run) {
		if !seen[r.Name] {
			seen[r.Name] = true
			names = append(names, r.Name)
		}
	})
	packs := arrange(names, held)
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(p.workers)
	for _, k := range packs {
		group.Go(func() error { return k.put(limited, p.Store) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	places := map[string]*Run{}
	for _, k := range packs {
		if k.alone() {
			continue
		}
		for i, name := range k.runs {
			places[name] = &Run{Pack: k.name, Offset: k.offsets[i], PackBytes: int64(len(k.data))}
		}
	}
	for _, list := range lists {
		for i := range list { // others may have the same chain: it is not changed
			list[i].Runs = slices.Clone(list[i].Runs)
		}
	}
	eachHeld(lists, held, func(r *Run) {
		if at := places[r.Name]; at != nil {
			r.Pack, r.Offset, r.PackBytes = at.Pack, at.Offset, at.PackBytes
		}
	})
	return nil
}

// eachHeld calls visit with the runs of components that are held.
func eachHeld(lists [][]Component, held map[string][]byte, visit func(*Run)) {
	for _, list := range lists {
		for i := range list {
			for k := range list[i].Runs {
				if r := &list[i].Runs[k]; r.Pack == "" && held[runName(r.Name)] != nil {
					visit(r)
				}
			}
		}
	}
}

// pack is a pack that is being made, or a run that is alone and stays an object of its own.
type pack struct {
	name    string
	runs    []string // names
	offsets []int64
	data    []byte
}

func (k *pack) alone() bool { return len(k.runs) == 1 }

// arrange divides runs into packs, in their order.
func arrange(names []string, held map[string][]byte) (packs []*pack) {
	var last *pack
	for _, name := range names {
		data := held[runName(name)]
		if last == nil || len(last.data)+len(data) > packBytesMax {
			last = &pack{data: append([]byte(packMagic), packVersion)}
			packs = append(packs, last)
		}
		last.runs, last.offsets = append(last.runs, name), append(last.offsets, int64(len(last.data)))
		last.data = append(last.data, data...)
	}
	for _, k := range packs {
		k.name = SHA256(k.data)
	}
	return packs
}

func (k *pack) put(ctx context.Context, s store.Store) error {
	if k.alone() {
		return putRun(ctx, s, k.runs[0], k.data[packHeadBytes:])
	}
	object := packName(k.name)
	return putData(ctx, s, object, k.data, func(there []byte) error {
		if SHA256(there) != k.name {
			return corrupt(object, -1, "its content is not what its name says")
		}
		return nil
	})
}

// Unpack takes the runs of a chain that these packs have, by the names of the objects, to a Packer.
// It returns the chain without their packs; a Flush gives them others.
func Unpack(ctx context.Context, into *Packer, chain []Run, packs map[string]bool) ([]Run, error) {
	chain = slices.Clone(chain)
	for i := range chain {
		r := &chain[i]
		if !packs[r.Object()] {
			continue
		}
		x, err := openRun(ctx, into, r)
		if err != nil {
			return nil, err
		}
		r.Pack, r.Offset, r.PackBytes = "", 0, 0
		if err := into.Put(ctx, runName(r.Name), x.encode()); err != nil && !errors.Is(err, store.ErrExists) {
			return nil, err
		}
	}
	return chain, nil
}

// getRun returns the bytes of a run's object.
func getRun(ctx context.Context, s store.Store, r *Run) ([]byte, error) {
	if r.Pack == "" {
		return get(ctx, s, runName(r.Name))
	}
	data, err := store.GetRange(ctx, s, r.Object(), r.Offset, r.Bytes)
	if errors.Is(err, store.ErrNotFound) {
		return nil, corrupt(r.Object(), -1, "it is missing")
	}
	if err == nil && int64(len(data)) != r.Bytes {
		err = corrupt(r.Object(), int(r.Offset)+len(data), "it ends before the end of run %s, which takes %d bytes from %d", r.Name, r.Bytes, r.Offset)
	}
	return data, err
}
