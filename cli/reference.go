package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

// reference names a checkpoint: an epoch, the URL of a store, or both as URL#EPOCH.
type reference struct {
	text  string
	url   string // "": another flag says it
	epoch state.Epoch
}

func parseReference(text string) (r reference, err error) {
	r.text = text
	url, epoch, both := strings.Cut(text, "#")
	if !both && strings.Trim(text, "0123456789") == "" {
		url, epoch = "", text
	}
	r.url = url
	if epoch != "" || url == "" {
		n, err := strconv.ParseUint(epoch, 10, 64)
		if err != nil || n == 0 {
			return r, usagef("%q is no epoch: give EPOCH, or URL#EPOCH for a checkpoint in another store, or URL for the newest there", epoch)
		}
		r.epoch = state.Epoch(n)
	}
	if url != "" {
		if err := stores.Check(url); err != nil {
			return r, usagef("the store of a checkpoint %w; give EPOCH, or URL#EPOCH for one in another store", err)
		}
	}
	return r, nil
}

// opened are open stores, by URL.
type opened map[string]store.Store

// open opens a store once. A folder without a store is an error, unless it is to be written.
func (o opened) open(ctx context.Context, url string, write bool) (store.Store, error) {
	if s := o[url]; s != nil {
		return s, nil
	}
	if !write {
		if err := stores.Exists(url); err != nil {
			return nil, err
		}
	}
	s, err := stores.Open(ctx, url, slog.New(slog.DiscardHandler))
	if err == nil {
		o[url] = s
	}
	return s, err
}

func (o opened) close() error {
	var errs []error
	for _, s := range o {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// find reads the manifest of a checkpoint. url is the store of references without a URL.
func (o opened) find(ctx context.Context, r reference, url, app string) (store.Store, *checkpoint.Manifest, error) {
	if r.url != "" {
		url = r.url
	}
	s, err := o.open(ctx, url, false)
	if err != nil {
		return nil, nil, err
	}
	m, err := checkpoint.Find(ctx, s, app, r.epoch)
	if err != nil {
		return nil, nil, fmt.Errorf("checkpoint %s: %w", r.shown(), err)
	}
	return s, m, nil
}

// shown names a reference without what a URL may hide, such as a password.
func (r reference) shown() string {
	kind, _, _ := strings.Cut(r.url, ":")
	switch {
	case r.url == "":
		return strconv.FormatUint(uint64(r.epoch), 10)
	case kind == "file":
		return r.text
	case r.epoch == 0:
		return "the newest in the " + kind + " store"
	}
	return fmt.Sprintf("%d in the %s store", r.epoch, kind)
}
