package ingest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// awaitFirstLoad waits until each table that a KV bucket fills was loaded in every log, so that no event
// comes before the rows that it is joined with. It waits for a limited time, because the bucket
// may never be created.
func (u *unit) awaitFirstLoad(ctx context.Context) {
	limit := time.NewTimer(u.s.cfg.FirstLoadMax)
	defer limit.Stop()
	ticker := time.NewTicker(bucketQuiet)
	defer ticker.Stop()
	for first := true; ; first = false {
		reason, loaded := u.unloaded()
		if reason == "" {
			return
		}
		if !first { // a small bucket is loaded in a moment
			u.setState(Waiting, reason)
		}
		select {
		case <-loaded:
		case <-ticker.C: // the reason or the sources may have changed
		case <-limit.C:
			u.s.cfg.Log.Error("events are accepted although a table was not loaded from its KV bucket: its rows are missing in the results until it is", "app", u.name, "waited", u.s.cfg.FirstLoadMax, "reason", reason)
			return
		case <-u.s.taking.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// unloaded says which table has no load yet, and why; "" if there is none. The channel is closed
// once the table has one; it may be nil.
func (u *unit) unloaded() (reason string, loaded <-chan struct{}) {
	links := u.linked()
	for _, s := range u.served() {
		b := s.stream.ReadsBucket()
		if b == nil {
			continue
		}
		reason = fmt.Sprintf("table %s waits for its first load from KV bucket %s", s.stream.Name, b.Name)
		i := slices.IndexFunc(links, func(l *link) bool { return l.source == s })
		if i < 0 {
			return reason, nil
		}
		select {
		case <-links[i].loaded:
			continue
		default:
		}
		for _, info := range links[i].info() {
			if info.Reason != "" && info.Reason != "starting" {
				reason += ": " + info.Reason
			}
		}
		return reason, links[i].loaded
	}
	return "", nil
}

var deniedPublish = regexp.MustCompile(`(?i)permissions violation for publish to "(\S+)"`)

// noteDenied remembers the newest subject that the server refuses to publish to.
func (s *Service) noteDenied(err error) {
	if err == nil {
		return
	}
	if found := deniedPublish.FindStringSubmatch(err.Error()); found != nil {
		s.denied.Store(&found[1])
	}
}

// explained adds to an error about a KV bucket that a permission is missing, if it is.
func (s *Service) explained(err error, bucket string) error {
	to := s.denied.Load()
	if err == nil || to == nil || !strings.Contains(*to, ".KV_"+bucket) {
		return err
	}
	s.denied.CompareAndSwap(to, nil)
	var allow []string
	for _, verb := range []string{"STREAM.INFO.%s", "CONSUMER.CREATE.%s.>", "CONSUMER.INFO.%s.>", "CONSUMER.DELETE.%s.>", "CONSUMER.MSG.NEXT.%s.>"} {
		allow = append(allow, `"$JS.API.`+fmt.Sprintf(verb, "KV_"+bucket)+`"`)
	}
	return fmt.Errorf("NATS refuses that EventFlux publishes to %s; add to the permissions of its user in the NATS configuration: publish: {allow: [%s]}", *to, strings.Join(allow, ", "))
}
