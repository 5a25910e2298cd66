package azure

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// reloadEvery limits how often the file of a key is read again because the key was refused.
const reloadEvery = time.Second

// sharedKey is the shared key of an account. It is read again when the server has refused it.
type sharedKey struct {
	file       string // empty: the environment has the key
	credential *container.SharedKeyCredential

	mu     sync.Mutex
	stale  bool
	loaded time.Time
}

// newSharedKey returns nil if there is no shared key.
func newSharedKey(opt *Options) (*sharedKey, error) {
	k := &sharedKey{file: opt.KeyFile, loaded: time.Now()}
	key, err := k.read()
	if err != nil || key == "" {
		return nil, err
	}
	if k.credential, err = container.NewSharedKeyCredential(opt.Account, key); err != nil {
		return nil, errors.New("the shared key is not in base64; copy it as the portal shows it")
	}
	return k, nil
}

func (k *sharedKey) read() (string, error) {
	if k.file == "" {
		return os.Getenv("AZURE_STORAGE_KEY"), nil
	}
	data, err := os.ReadFile(k.file)
	if err != nil {
		return "", fmt.Errorf("read the shared key: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", fmt.Errorf("the shared key: %s is empty", k.file)
	}
	return key, nil
}

// refused notes that the server does not accept the key.
func (k *sharedKey) refused() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stale = true
}

// renew reads a refused key again. A file that cannot be read leaves the former key.
func (k *sharedKey) renew() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stale || time.Since(k.loaded) < reloadEvery {
		return
	}
	k.loaded = time.Now()
	if key, err := k.read(); err == nil && k.credential.SetAccountKey(key) == nil {
		k.stale = false
	}
}

// newClient returns a client of the container. Credentials are the shared key, or else those
// that the chain of the SDK finds: environment, workload identity, managed identity, tools.
func (b *bucket) newClient() (*container.Client, error) {
	var err error
	if b.key, err = newSharedKey(b.opt); err != nil {
		return nil, err
	}
	options := &container.ClientOptions{ClientOptions: clientOptions(b.transport)}
	if b.key != nil {
		return container.NewClientWithSharedKeyCredential(b.opt.containerURL(), b.key.credential, options)
	}
	if strings.HasPrefix(b.opt.Endpoint, "http:") {
		return nil, errors.New("an endpoint without TLS takes a shared key only; set AZURE_STORAGE_KEY, or key_file= in the URL")
	}
	// The certificate authority of an endpoint is not the one of the servers that give tokens.
	public := *b.opt
	public.CA = ""
	if b.identity, err = public.Transport(); err != nil {
		return nil, err
	}
	chain, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Transport: &http.Client{Transport: b.identity}},
	})
	if err != nil {
		return nil, err
	}
	return container.NewClient(b.opt.containerURL(), chain, options)
}

// clientOptions leave repeating to the store.
func clientOptions(transport *http.Transport) azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}
