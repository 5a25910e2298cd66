package redis

import (
	"context"
	"fmt"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
)

// keepBatch is how many objects are kept before waiting for their answers.
const keepBatch = 500

// Commit implements store.Store. Before the head names the manifest, everything that the
// manifest refers to is there and no longer expires:
//
//	refuse an older term ──▶ keep each object ──▶ manifest and head, in one script
//
// A commit that fails on the way leaves objects that do not expire, until a sweep deletes
// them.
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := s.commit(ctx, &c); err != nil {
		return fmt.Errorf("commit epoch %d of app %s: %w", c.Epoch, c.App, err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, c *store.Commit) error {
	head, err := s.Head(ctx, c.App)
	if err == nil {
		_, _, err = head.Admit(c) // the script asks again
	}
	if err == nil {
		err = s.keep(ctx, c.Objects)
	}
	if err != nil {
		return err
	}
	manifest := &upload{keys: s.keysOf("apps/" + c.App + "/none")}
	if c.Epoch > 0 {
		manifest = s.upload(c.Name, c.Manifest)
	}
	known := s.known(c.App)
	keys := append(manifest.keys, s.headKey(c.App))
	err = s.on(ctx, keys[0], func(conn *goredis.Conn) error {
		if err := manifest.stage(ctx, conn, s.opt.TTL); err != nil {
			return err
		}
		manifest.sent = true
		answer, err := commitScript.Run(ctx, conn, keys, commitArgs(c, known, manifest)...).StringSlice()
		if err != nil {
			return err
		}
		head, err := s.answered(c, known, answer)
		if err != nil {
			return err
		}
		if err := s.replicate(ctx, conn); err != nil {
			return err
		}
		s.learn(c.App, head)
		return nil
	})
	if err != nil {
		s.drop(ctx, manifest)
	}
	return err
}

func commitArgs(c *store.Commit, known store.Head, manifest *upload) []any {
	args := append([]any{dec(c.Term), dec(c.Epoch), c.Name, dec(known.Term), dec(known.Epoch)}, manifest.args()...)
	return append(args, c.Replaces)
}

func dec(n uint64) string { return strconv.FormatUint(n, 10) }

// answered returns the head that a commit reports, and why it was refused.
func (s *Store) answered(c *store.Commit, known store.Head, answer []string) (store.Head, error) {
	if len(answer) != 4 {
		return store.Head{}, fmt.Errorf("the script of a commit answers %q", answer)
	}
	head, err := headOf(answer[1:])
	if err != nil {
		return head, err
	}
	switch answer[0] {
	case "ok":
		return head, nil
	case "fenced":
		s.learn(c.App, head)
		if _, _, err := head.Admit(c); err != nil {
			return head, err
		}
	case "lost":
		return head, lostCommitError(c.App, head, known)
	case "exists":
		return head, fmt.Errorf("%s: %w with another content", c.Name, store.ErrExists)
	case "gone":
		return head, fmt.Errorf("pieces of %s were gone before all were there", c.Name)
	}
	return head, fmt.Errorf("the script of a commit answers %q", answer)
}

// lostCommitError returns an error that says that the head is older than it was.
func lostCommitError(app string, head, known store.Head) error {
	return fmt.Errorf("%w: the head of app %s is term %d, epoch %d, and was term %d, epoch %d: redis was restarted without what it had, or a replica that was behind took over",
		store.ErrLost, app, head.Term, head.Epoch, known.Term, known.Epoch)
}

// keep lifts the expiry of objects, which must all be there.
func (s *Store) keep(ctx context.Context, names []string) error {
	for len(names) > 0 {
		batch := names[:min(len(names), keepBatch)]
		names = names[len(batch):]
		if err := s.repeat(ctx, func() error { return s.keepBatch(ctx, batch) }); err != nil {
			return fmt.Errorf("keep what the manifest refers to: %w", err)
		}
	}
	return nil
}

func (s *Store) keepBatch(ctx context.Context, names []string) error {
	byNode := map[*goredis.Client][]string{}
	for _, name := range names {
		node, err := s.node(ctx, s.keysOf(name)[0])
		if err != nil {
			return err
		}
		byNode[node] = append(byNode[node], name)
	}
	for node, names := range byNode {
		err := s.connected(node, func(conn *goredis.Conn) error {
			if err := s.keepOn(ctx, conn, names); err != nil {
				return err
			}
			return s.replicate(ctx, conn)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) keepOn(ctx context.Context, conn *goredis.Conn, names []string) error {
	answers := make([]*goredis.Cmd, len(names))
	_, err := conn.Pipelined(ctx, func(p goredis.Pipeliner) error {
		p.ScriptLoad(ctx, onObject(keepSource)) // a pipeline cannot send it when it turns out to be missing
		for i, name := range names {
			answers[i] = p.EvalSha(ctx, keepScript.Hash(), s.keysOf(name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, a := range answers {
		if a.Val() != "ok" {
			return fmt.Errorf("%s: %w: it has expired, or was deleted or evicted", names[i], store.ErrNotFound)
		}
	}
	return nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, app string) (store.Head, error) {
	if err := store.CheckApp(app); err != nil {
		return store.Head{}, err
	}
	known := s.known(app) // read before asking, because it may rise in the meantime
	var head store.Head
	err := s.on(ctx, s.headKey(app), func(conn *goredis.Conn) error {
		values, err := conn.HMGet(ctx, s.headKey(app), "term", "epoch", "manifest").Result()
		if err != nil {
			return err
		}
		if values[0] == nil {
			return nil
		}
		fields := make([]string, len(values))
		for i, v := range values {
			fields[i], _ = v.(string)
		}
		head, err = headOf(fields)
		return err
	})
	if err == nil && (head.Term < known.Term || head.Epoch < known.Epoch) {
		err = lostCommitError(app, head, known)
	}
	if err != nil {
		return store.Head{}, fmt.Errorf("head of app %s: %w", app, err)
	}
	s.learn(app, head)
	return head, nil
}

// headOf reads term, epoch and manifest.
func headOf(fields []string) (h store.Head, err error) {
	if h.Term, err = strconv.ParseUint(fields[0], 10, 64); err == nil {
		h.Epoch, err = strconv.ParseUint(fields[1], 10, 64)
	}
	if err != nil {
		return h, fmt.Errorf("the head says %q, which no version writes: %w", fields, err)
	}
	h.Name = fields[2]
	return h, nil
}
