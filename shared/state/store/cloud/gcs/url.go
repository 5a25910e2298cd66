package gcs

import (
	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

const scheme = "gs"

// Options are the parts of a URL.
type Options struct {
	cloud.URL
	KMSKey       string
	StorageClass string
}

// Parse reads gs://bucket/prefix?parameter=value.
func Parse(text string) (*Options, error) {
	o := &Options{}
	u, err := cloud.Parse(text, scheme, cloud.Parameters{
		"kms_key":       cloud.NotEmpty(&o.KMSKey),
		"storage_class": cloud.NotEmpty(&o.StorageClass),
	})
	if err != nil {
		return nil, err
	}
	o.URL = *u
	return o, nil
}

// Name names the bucket for people.
func (o *Options) Name() string { return o.URL.Name(scheme) }
