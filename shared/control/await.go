package control

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// servedLookEvery is how often AwaitServed asks whether the app is served.
const servedLookEvery = 50 * time.Millisecond

// AwaitServed waits until all ingests accept the events of an app and all of its partitions
// run. a is as Deploy has returned it; AwaitServed updates it. If ctx ends first, the error
// names what is missing, and the app stays deployed.
func (c *Client) AwaitServed(ctx context.Context, a *App) error {
	for len(a.Missing) > 0 {
		select {
		case <-time.After(servedLookEvery):
		case <-ctx.Done():
			return notServed(a)
		}
		now, err := c.App(ctx, AppRequest{App: a.Name})
		switch {
		case ctx.Err() != nil:
			return notServed(a)
		case err != nil:
			return err
		case now.Index != a.Index:
			return fmt.Errorf("app %s was removed and deployed again in the meantime", a.Name)
		}
		*a = now
	}
	return nil
}

func notServed(a *App) error {
	return fmt.Errorf("app %s is deployed, and it is not served yet: %s", a.Name, strings.Join(a.Missing, "; "))
}
