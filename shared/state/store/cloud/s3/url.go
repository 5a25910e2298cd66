package s3

import (
	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

const scheme = "s3"

// Options are the parts of a URL.
type Options struct {
	cloud.URL
	Region       string
	Profile      string // in the files of the AWS command line
	PathStyle    bool   // the bucket is in the path of a request, not in the name of the host
	SSE          string // how the server encrypts: AES256, aws:kms; empty for its default
	KMSKey       string
	StorageClass string
}

// Parse reads s3://bucket/prefix?parameter=value.
func Parse(text string) (*Options, error) {
	o := &Options{}
	pathStyle := ""
	u, err := cloud.Parse(text, scheme, cloud.Parameters{
		"region":        cloud.NotEmpty(&o.Region),
		"profile":       cloud.NotEmpty(&o.Profile),
		"path_style":    cloud.OneOf(&pathStyle, "true", "false"),
		"sse":           cloud.OneOf(&o.SSE, "AES256", "aws:kms"),
		"kms_key":       cloud.NotEmpty(&o.KMSKey),
		"storage_class": cloud.NotEmpty(&o.StorageClass),
	})
	if err != nil {
		return nil, err
	}
	o.URL = *u
	// Most servers but AWS have no name for each bucket.
	o.PathStyle = pathStyle == "true" || pathStyle == "" && o.Endpoint != ""
	if o.KMSKey != "" && o.SSE != "aws:kms" {
		return nil, errKMS
	}
	return o, nil
}

// Name names the bucket for people.
func (o *Options) Name() string { return o.URL.Name(scheme) }
