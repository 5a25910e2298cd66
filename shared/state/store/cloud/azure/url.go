package azure

import (
	"errors"
	"os"

	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

const scheme = "azblob"

// Options are the parts of a URL. The bucket is a container.
type Options struct {
	cloud.URL
	Account         string
	KeyFile         string // has the shared key of the account; empty if no file has it
	Tier            string // of access: Hot, Cool, Cold; empty for the account's
	EncryptionScope string
}

var errAccount = errors.New("names no storage account; add account=NAME, or set AZURE_STORAGE_ACCOUNT")

// Parse reads azblob://container/prefix?parameter=value.
func Parse(text string) (*Options, error) {
	o := &Options{Account: os.Getenv("AZURE_STORAGE_ACCOUNT")}
	u, err := cloud.Parse(text, scheme, cloud.Parameters{
		"account":          cloud.NotEmpty(&o.Account),
		"key_file":         cloud.NotEmpty(&o.KeyFile),
		"tier":             cloud.OneOf(&o.Tier, "Hot", "Cool", "Cold"),
		"encryption_scope": cloud.NotEmpty(&o.EncryptionScope),
	})
	if err != nil {
		return nil, err
	}
	o.URL = *u
	if o.Account == "" {
		return nil, errAccount
	}
	return o, nil
}

// Name names the bucket for people.
func (o *Options) Name() string { return o.URL.Name(scheme) }

// containerURL is where the container is.
func (o *Options) containerURL() string {
	if o.Endpoint != "" {
		return o.Endpoint + "/" + o.Bucket
	}
	return "https://" + o.Account + ".blob.core.windows.net/" + o.Bucket
}
