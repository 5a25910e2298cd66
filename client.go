package eventflux

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/build"
)

// Client uses EventFlux over a NATS connection. It is safe for concurrent use. While no service
// answers, its requests wait until their ctx ends.
type Client struct {
	nc      *nats.Conn
	control *control.Client
}

// Connect returns a client of the EventFlux cluster on the servers of nc. The caller owns nc.
func Connect(nc *nats.Conn) *Client {
	return &Client{nc: nc, control: &control.Client{
		Conn: nc, Self: &control.Self{Version: build.Read().Semver(), Name: "an application"},
	}}
}

// App is a deployed app.
type App struct {
	Name       string
	Partitions int
	// Generation starts at 1. Each restore of the app starts a new one.
	Generation uint64
	// Version counts the texts of the app, from 1.
	Version  int
	Text     string // only from Deploy and App
	Deployed time.Time
	// Warnings name other apps that read the same subject with another definition; only
	// from Deploy.
	Warnings []string
}

func appOf(a *control.App) App {
	return App{
		Name: a.Name, Partitions: int(a.Partitions), Generation: uint64(a.Generation), Version: int(a.Version),
		Text: a.Text, Deployed: a.Deployed,
	}
}

// Deploy deploys an app and returns once the app accepts events and all of its partitions run.
// Deploying the same text again changes nothing. Deploy refuses another text under the name of
// a deployed app.
func (c *Client) Deploy(ctx context.Context, text string) (App, error) {
	if _, err := siddhiql.Compile(text); err != nil {
		return App{}, fmt.Errorf("deploy: %w", err)
	}
	d, err := c.control.Deploy(ctx, control.DeployRequest{Text: text})
	if err == nil {
		err = c.control.AwaitServed(ctx, &d.App)
	}
	if err != nil {
		return App{}, fmt.Errorf("deploy: %w", err)
	}
	a := appOf(&d.App)
	a.Warnings = d.Warnings
	return a, nil
}

// Remove removes an app with its log, its results and its checkpoints.
func (c *Client) Remove(ctx context.Context, app string) error {
	if err := c.control.Do(ctx, control.VerbRemove, control.AppRequest{App: app}, &control.App{}); err != nil {
		return fmt.Errorf("remove app %s: %w", app, err)
	}
	return nil
}

// Apps lists the deployed apps, sorted by name.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	list, err := c.control.Apps(ctx)
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	apps := make([]App, len(list.Apps))
	for i := range list.Apps {
		apps[i] = appOf(&list.Apps[i])
	}
	return apps, nil
}

// App returns a deployed app with its text.
func (c *Client) App(ctx context.Context, name string) (App, error) {
	a, err := c.control.App(ctx, control.AppRequest{App: name})
	if err != nil {
		return App{}, fmt.Errorf("app %s: %w", name, err)
	}
	return appOf(&a), nil
}

// stream returns a deployed app and one of its streams.
func (c *Client) stream(ctx context.Context, app, name string) (*control.App, *siddhiql.Stream, error) {
	a, err := c.control.App(ctx, control.AppRequest{App: app})
	if err != nil {
		return nil, nil, fmt.Errorf("app %s: %w", app, err)
	}
	plan, err := siddhiql.CompileDeployed(a.Text)
	if err != nil {
		return nil, nil, fmt.Errorf("app %s has a text that this build does not understand: %w", app, err)
	}
	s := plan.Stream(name)
	if s == nil {
		return nil, nil, fmt.Errorf("app %s has no stream %s", app, name)
	}
	return &a, s, nil
}

// Checkpoint makes a checkpoint of an app and returns its epoch once it is committed.
func (c *Client) Checkpoint(ctx context.Context, app string) (uint64, error) {
	var o control.Outcome
	if err := c.control.Do(ctx, control.VerbTrigger, control.AppRequest{App: app}, &o); err != nil {
		return 0, fmt.Errorf("checkpoint of app %s: %w", app, err)
	}
	if !o.Committed {
		return 0, fmt.Errorf("checkpoint %d of app %s was aborted: %s", o.Epoch, app, o.Reason)
	}
	return uint64(o.Epoch), nil
}

// StateQuery says what State returns.
type StateQuery struct {
	App string
	// Component names a part of the state by query and part, such as "airport/aggregate" or
	// "airport/window".
	Component string
	Key       string // only the item of this key
	// At, if not zero, asks for the state as of that instant. The log must reach back that far.
	At    time.Time
	Limit int // most items; 0 means 1,000
}

// StateItem is a row of a window, a group of an aggregate, or another part of a component.
type StateItem struct {
	Partition int
	Key       string
	Value     json.RawMessage
}

// State returns the content of a component at the end of the log, or as of an instant. It
// rebuilds the state from a checkpoint and the log, without disturbing the running app.
func (c *Client) State(ctx context.Context, q StateQuery) ([]StateItem, error) {
	r := recovery.StateRequest{Component: q.Component, Key: q.Key, Limit: q.Limit}
	r.App = q.App
	if !q.At.IsZero() {
		r.At = recovery.At(q.At.UTC().Format(time.RFC3339Nano))
	}
	var s recovery.State
	if err := c.control.Ask(ctx, recovery.ServiceName, recovery.VerbState, &r, &s); err != nil {
		return nil, fmt.Errorf("state of %s in app %s: %w", q.Component, q.App, err)
	}
	var items []StateItem
	for _, p := range s.Partitions {
		for _, i := range p.Items {
			items = append(items, StateItem{Partition: int(p.Partition), Key: i.Key, Value: i.Value})
		}
	}
	return items, nil
}
