// Package s3 accesses the buckets of Amazon S3, and of servers with its protocol that have
// conditional writes.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

var errKMS = errors.New("has kms_key without sse=aws:kms")

// regionDefault is for servers other than AWS, which have no regions.
const regionDefault = "us-east-1"

type bucket struct {
	opt         *Options
	client      *s3.Client
	transport   *http.Transport
	credentials *credentials
}

var _ cloud.Bucket = (*bucket)(nil)

// Open opens the store in the bucket that a URL names, as Parse reads it. The credentials
// come from where the AWS command line has them.
func Open(ctx context.Context, url string, log *slog.Logger) (*cloud.Store, error) {
	opt, err := Parse(url)
	if err != nil {
		return nil, fmt.Errorf("%w: s3: the URL %w", store.ErrInvalid, err)
	}
	b, err := open(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", opt.Name(), err)
	}
	return cloud.Open(ctx, b, opt.Options, log)
}

func open(ctx context.Context, opt *Options) (*bucket, error) {
	if opt.CA == "" {
		opt.CA = os.Getenv("AWS_CA_BUNDLE")
	}
	transport, err := opt.Transport()
	if err != nil {
		return nil, err
	}
	b := &bucket{opt: opt, transport: transport}
	load := func(ctx context.Context) (aws.Config, error) {
		var options []func(*config.LoadOptions) error
		if opt.Region != "" {
			options = append(options, config.WithRegion(opt.Region))
		}
		if opt.Profile != "" {
			options = append(options, config.WithSharedConfigProfile(opt.Profile))
		}
		return config.LoadDefaultConfig(ctx, options...)
	}
	c, err := load(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of AWS: %w", err)
	}
	switch {
	case c.Region == "" && opt.Endpoint == "":
		return nil, errors.New("no region; set region= in the URL, or AWS_REGION")
	case c.Region == "":
		c.Region = regionDefault
	}
	b.credentials = newCredentials(c.Credentials, func(ctx context.Context) (aws.CredentialsProvider, error) {
		c, err := load(ctx)
		return c.Credentials, err
	})
	b.client = s3.NewFromConfig(c, func(o *s3.Options) {
		o.Credentials = b.credentials
		o.HTTPClient = &http.Client{Transport: transport}
		o.Retryer = aws.NopRetryer{} // the store repeats requests
		o.UsePathStyle = opt.PathStyle
		// Many servers do not know the checksums of AWS. The signature has a hash of the
		// content, and readers check a hash as well.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if opt.Endpoint != "" {
			o.BaseEndpoint = &opt.Endpoint
		}
	})
	return b, nil
}

// Name implements cloud.Bucket.
func (b *bucket) Name() string { return b.opt.Name() }

// Close implements cloud.Bucket.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

func (b *bucket) key(key string) *string { return aws.String(b.opt.Prefix + key) }

// Put implements cloud.Bucket.
func (b *bucket) Put(ctx context.Context, key string, content []byte, only cloud.Condition) (string, error) {
	in := &s3.PutObjectInput{
		Bucket: &b.opt.Bucket, Key: b.key(key), Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))),
		ServerSideEncryption: types.ServerSideEncryption(b.opt.SSE), StorageClass: types.StorageClass(b.opt.StorageClass),
	}
	if b.opt.KMSKey != "" {
		in.SSEKMSKeyId = &b.opt.KMSKey
	}
	switch {
	case only.Absent:
		in.IfNoneMatch = aws.String("*")
	case only.Version != "":
		in.IfMatch = &only.Version
	}
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		return "", b.explain(err)
	}
	return aws.ToString(out.ETag), nil
}

// Get implements cloud.Bucket.
func (b *bucket) Get(ctx context.Context, key string) ([]byte, cloud.Info, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.opt.Bucket, Key: b.key(key)})
	if err != nil {
		return nil, cloud.Info{}, b.explain(err)
	}
	content, err := cloud.ReadAll(out.Body, aws.ToInt64(out.ContentLength))
	if err != nil {
		return nil, cloud.Info{}, b.explain(err)
	}
	return content, cloud.Info{Key: key, Bytes: int64(len(content)), Version: aws.ToString(out.ETag), Written: aws.ToTime(out.LastModified)}, nil
}

// GetPart implements cloud.Bucket.
func (b *bucket) GetPart(ctx context.Context, key, version string, from, size int64) ([]byte, cloud.Info, error) {
	in := &s3.GetObjectInput{Bucket: &b.opt.Bucket, Key: b.key(key), Range: aws.String(fmt.Sprintf("bytes=%d-%d", from, from+size-1))}
	if version != "" {
		in.IfMatch = &version
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, cloud.Info{}, b.explain(err)
	}
	content, err := cloud.ReadAll(out.Body, aws.ToInt64(out.ContentLength))
	if err != nil {
		return nil, cloud.Info{}, b.explain(err)
	}
	part, total, err := cloud.PartOf(content, aws.ToString(out.ContentRange), from, size)
	return part, cloud.Info{Key: key, Bytes: total, Version: aws.ToString(out.ETag), Written: aws.ToTime(out.LastModified)}, err
}

// Stat implements cloud.Bucket.
func (b *bucket) Stat(ctx context.Context, key string) (cloud.Info, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.opt.Bucket, Key: b.key(key)})
	if err != nil {
		return cloud.Info{}, b.explain(err)
	}
	return cloud.Info{Key: key, Bytes: aws.ToInt64(out.ContentLength), Version: aws.ToString(out.ETag), Written: aws.ToTime(out.LastModified)}, nil
}

// List implements cloud.Bucket.
func (b *bucket) List(ctx context.Context, prefix, page string) ([]cloud.Info, string, error) {
	in := &s3.ListObjectsV2Input{Bucket: &b.opt.Bucket, Prefix: b.key(prefix)}
	if page != "" {
		in.ContinuationToken = &page
	}
	out, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, "", b.explain(err)
	}
	found := make([]cloud.Info, 0, len(out.Contents))
	for _, o := range out.Contents {
		found = append(found, cloud.Info{
			Key: strings.TrimPrefix(aws.ToString(o.Key), b.opt.Prefix), Bytes: aws.ToInt64(o.Size),
			Version: aws.ToString(o.ETag), Written: aws.ToTime(o.LastModified),
		})
	}
	if !aws.ToBool(out.IsTruncated) {
		return found, "", nil
	}
	return found, aws.ToString(out.NextContinuationToken), nil
}

// Delete implements cloud.Bucket.
func (b *bucket) Delete(ctx context.Context, key, version string) error {
	in := &s3.DeleteObjectInput{Bucket: &b.opt.Bucket, Key: b.key(key)}
	if version != "" {
		in.IfMatch = &version
	}
	_, err := b.client.DeleteObject(ctx, in)
	return b.explain(err)
}
