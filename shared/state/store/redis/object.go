package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
)

const (
	// pieceBytes is how much is under one key. A server that moves more at once makes
	// everyone else wait.
	pieceBytes = 1 << 20
	// batchPieces is how many pieces are sent before waiting for an answer.
	batchPieces = 8
	// lookFirstBytes is the smallest object that is worth asking for before sending it, in
	// case it exists.
	lookFirstBytes = 64 << 10
	// stageTTL is how long pieces without an object live: a failed upload frees its memory
	// soon.
	stageTTL = 10 * time.Minute
	listKeys = 1000 // at a time
)

// upload is an object as scripts take it: its data, or the pieces that it was written in.
type upload struct {
	keys   []string
	id     string
	bytes  int
	sum    string
	pieces int // 0: the data goes with the object
	data   []byte
	sent   bool // a script with it was sent, so that pieces may belong to an object
}

func (s *Store) upload(name string, data []byte) *upload {
	sum := sha256.Sum256(data)
	u := &upload{keys: s.keysOf(name), id: newID(), bytes: len(data), sum: hex.EncodeToString(sum[:]), data: data}
	if len(data) > pieceBytes {
		u.pieces = (len(data) + pieceBytes - 1) / pieceBytes
	}
	return u
}

// args are the arguments that the script calls id, bytes, sha256, n and data.
func (u *upload) args() []any {
	data := u.data
	if u.pieces > 0 {
		data = nil
	}
	return []any{u.id, u.bytes, u.sum, u.pieces, data}
}

func (u *upload) piece(i int) string { return u.keys[1] + u.id + ":" + strconv.Itoa(i) }

// stage writes the pieces of a large object. No name leads to them yet. Each call writes
// new pieces: a script whose answer was lost may have made an object of the earlier ones.
func (u *upload) stage(ctx context.Context, conn *goredis.Conn, ttl time.Duration) error {
	if u.pieces > 0 {
		u.id, u.sent = newID(), false
	}
	for first := 0; first < u.pieces; first += batchPieces {
		_, err := conn.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i := first; i < min(first+batchPieces, u.pieces); i++ {
				p.Set(ctx, u.piece(i), u.data[i*pieceBytes:min((i+1)*pieceBytes, len(u.data))], min(ttl, stageTTL))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// drop deletes the pieces of an upload that failed half-way. Others expire.
func (s *Store) drop(ctx context.Context, u *upload) {
	if u.pieces == 0 || u.sent {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.Timeout)
	defer cancel()
	keys := make([]string, u.pieces)
	for i := range keys {
		keys[i] = u.piece(i)
	}
	node, err := s.node(ctx, u.keys[0])
	if err == nil {
		err = node.Unlink(ctx, keys...).Err()
	}
	if err != nil {
		s.log.Debug("pieces of a failed upload are left to expire", "pieces", len(keys), "err", err)
	}
}

// Put implements store.Store. On return it is as durable as Redis is configured to be.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := store.Check(name, data); err != nil {
		return err
	}
	if err := s.put(ctx, name, data); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, data []byte) error {
	u := s.upload(name, data)
	ttl := s.opt.TTL.Milliseconds()
	there := false
	err := s.on(ctx, u.keys[0], func(conn *goredis.Conn) error {
		answer := "absent"
		var err error
		if len(data) >= lookFirstBytes {
			if answer, err = touchScript.Run(ctx, conn, u.keys, ttl).Text(); err != nil {
				return err
			}
		}
		if answer == "absent" {
			if err := u.stage(ctx, conn, s.opt.TTL); err != nil {
				return err
			}
			u.sent = true
			if answer, err = putScript.Run(ctx, conn, u.keys, append(u.args(), ttl)...).Text(); err != nil {
				return err
			}
		}
		if answer == "gone" {
			return errors.New("pieces of it were gone before all were there")
		}
		there = answer == "exists"
		return s.replicate(ctx, conn) // also what another process has put, which may not have waited yet
	})
	switch {
	case err != nil:
		s.drop(ctx, u)
	case there:
		return store.ErrExists
	}
	return err
}

// errAgain says that an object was replaced while it was read.
var errAgain = errors.New("the object was replaced while it was read")

// Get implements store.Store. It returns as many bytes as were put; the caller checks
// whether they are right.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	var data []byte
	read := func(conn *goredis.Conn) (err error) {
		data, err = s.get(ctx, conn, s.keysOf(name))
		return err
	}
	err := s.on(ctx, s.keysOf(name)[0], read)
	for range 3 {
		if !errors.Is(err, errAgain) {
			break
		}
		err = s.on(ctx, s.keysOf(name)[0], read)
	}
	if errors.Is(err, errAgain) {
		err = fmt.Errorf("%w: pieces of it are gone", store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

// described is what Redis tells of an object, without its data.
type described struct {
	Bytes  int64  `redis:"bytes"`
	Used   int64  `redis:"used"` // ms
	ID     string `redis:"id"`
	Pieces int    `redis:"pieces"`
	Data   []byte `redis:"data"`
}

func (s *Store) get(ctx context.Context, conn *goredis.Conn, keys []string) ([]byte, error) {
	var d described
	if err := conn.HMGet(ctx, keys[0], "bytes", "id", "pieces", "data").Scan(&d); err != nil {
		return nil, err
	}
	switch {
	case d.ID == "":
		return nil, store.ErrNotFound
	case d.Bytes < 1 || d.Bytes > store.ObjectBytesMax || d.Pieces < 0 || d.Pieces > store.ObjectBytesMax/pieceBytes:
		return nil, fmt.Errorf("%s says %d bytes in %d pieces, which no version writes", keys[0], d.Bytes, d.Pieces)
	case d.Pieces == 0:
		return checkedPayload(d.Data, d.Bytes)
	}
	u := &upload{keys: keys, id: d.ID}
	data := make([]byte, 0, d.Bytes)
	for first := 0; first < d.Pieces; first += batchPieces {
		answers, err := conn.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for i := first; i < min(first+batchPieces, d.Pieces); i++ {
				p.Get(ctx, u.piece(i))
			}
			return nil
		})
		if errors.Is(err, goredis.Nil) {
			return nil, errAgain
		}
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			data = append(data, a.(*goredis.StringCmd).Val()...)
		}
	}
	return checkedPayload(data, d.Bytes)
}

func checkedPayload(data []byte, bytes int64) ([]byte, error) {
	if int64(len(data)) != bytes {
		return nil, fmt.Errorf("%w: %d bytes of %d are left of it", store.ErrNotFound, len(data), bytes)
	}
	return data, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	var nodes []*goredis.Client
	err := s.repeat(ctx, func() (err error) {
		nodes, err = s.nodes(ctx)
		return err
	})
	listed := map[string]bool{} // a scan may come to a key twice
	for i := 0; err == nil && i < len(nodes); i++ {
		for cursor := uint64(0); err == nil; {
			var found []store.Object
			err = s.repeat(ctx, func() error {
				return s.connected(nodes[i], func(conn *goredis.Conn) error {
					var next uint64
					var err error
					if found, next, err = s.scan(ctx, conn, cursor, prefix); err == nil {
						cursor = next
					}
					return err
				})
			})
			for _, o := range found {
				if err != nil || listed[o.Name] {
					continue
				}
				listed[o.Name] = true
				if stop := visit(o); stop != nil {
					return stop
				}
			}
			if cursor == 0 {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	return nil
}

// scan lists the objects of one part of a node's keys.
func (s *Store) scan(ctx context.Context, conn *goredis.Conn, cursor uint64, prefix string) ([]store.Object, uint64, error) {
	keys, next, err := conn.Scan(ctx, cursor, s.pattern(prefix), listKeys).Result()
	if err != nil {
		return nil, 0, err
	}
	var objects []store.Object
	var answers []*goredis.SliceCmd
	_, err = conn.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, key := range keys {
			if name := s.nameOf(key); name != "" && strings.HasPrefix(name, prefix) {
				objects = append(objects, store.Object{Name: name})
				answers = append(answers, p.HMGet(ctx, key, "bytes", "used"))
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	found := objects[:0]
	for i, o := range objects {
		var d described
		if err := answers[i].Scan(&d); err != nil {
			return nil, 0, err
		}
		if d.Bytes > 0 { // else it was just deleted
			o.Bytes, o.Used = d.Bytes, time.UnixMilli(d.Used)
			found = append(found, o)
		}
	}
	return found, next, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string, since time.Time) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	var ms int64
	if !since.IsZero() {
		ms = max(1, since.UnixMilli())
	}
	keys := s.keysOf(name)
	err := s.on(ctx, keys[0], func(conn *goredis.Conn) error {
		return deleteScript.Run(ctx, conn, keys, ms).Err()
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}
