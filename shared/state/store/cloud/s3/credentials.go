package s3

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// reloadEvery limits how often credentials are read again because they were refused.
const reloadEvery = time.Second

// credentials reads credentials again when the server has refused them: a file may have new
// ones, and the SDK reads files and variables only once.
type credentials struct {
	load func(context.Context) (aws.CredentialsProvider, error)

	mu     sync.Mutex
	from   aws.CredentialsProvider
	stale  bool
	loaded time.Time
}

func newCredentials(from aws.CredentialsProvider, load func(context.Context) (aws.CredentialsProvider, error)) *credentials {
	return &credentials{load: load, from: from, loaded: time.Now()}
}

// Retrieve implements aws.CredentialsProvider.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	from, err := c.current(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	return from.Retrieve(ctx)
}

func (c *credentials) current(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stale || time.Since(c.loaded) < reloadEvery {
		return c.from, nil
	}
	from, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	c.from, c.stale, c.loaded = from, false, time.Now()
	return from, nil
}

// refused notes that the server does not accept the credentials.
func (c *credentials) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = true
}
