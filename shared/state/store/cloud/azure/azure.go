// Package azure accesses the containers of Azure Blob Storage. The version of a blob is its ETag,
// which each write changes.
package azure

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

type bucket struct {
	opt       *Options
	client    *container.Client
	key       *sharedKey // nil if the credentials are others
	transport *http.Transport
	identity  *http.Transport // to servers that give tokens; nil with a shared key
}

var _ cloud.Multipart = (*bucket)(nil)

// Open opens the store in the container that a URL names, as Parse reads it. The credentials
// are a shared key, or come from where the tools of Azure have them.
func Open(ctx context.Context, url string, log *slog.Logger) (*cloud.Store, error) {
	opt, err := Parse(url)
	if err != nil {
		return nil, fmt.Errorf("%w: azblob: the URL %w", store.ErrInvalid, err)
	}
	b, err := open(opt)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", opt.Name(), err)
	}
	return cloud.Open(ctx, b, opt.Options, log)
}

func open(opt *Options) (*bucket, error) {
	transport, err := opt.Transport()
	if err != nil {
		return nil, err
	}
	b := &bucket{opt: opt, transport: transport}
	b.client, err = b.newClient()
	return b, err
}

// Name implements cloud.Bucket.
func (b *bucket) Name() string { return b.opt.Name() }

// Close implements cloud.Bucket.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	if b.identity != nil {
		b.identity.CloseIdleConnections()
	}
	return nil
}

// blob returns the client of a blob, with a key that is as new as the last refusal.
func (b *bucket) blob(key string) *blockblob.Client {
	if b.key != nil {
		b.key.renew()
	}
	return b.client.NewBlockBlobClient(b.opt.Prefix + key)
}

func conditions(only cloud.Condition) *blob.AccessConditions {
	if only.Absent {
		any := azcore.ETagAny
		return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &any}}
	}
	return ofVersion(only.Version)
}

func ofVersion(version string) *blob.AccessConditions {
	if version == "" {
		return nil
	}
	tag := azcore.ETag(version)
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &tag}}
}

func (b *bucket) scope() *blob.CPKScopeInfo {
	if b.opt.EncryptionScope == "" {
		return nil
	}
	return &blob.CPKScopeInfo{EncryptionScope: &b.opt.EncryptionScope}
}

func (b *bucket) tier() *blob.AccessTier {
	if b.opt.Tier == "" {
		return nil
	}
	tier := blob.AccessTier(b.opt.Tier)
	return &tier
}

// Put implements cloud.Bucket.
func (b *bucket) Put(ctx context.Context, key string, content []byte, only cloud.Condition) (string, error) {
	out, err := b.blob(key).Upload(ctx, streaming.NopCloser(bytes.NewReader(content)), &blockblob.UploadOptions{
		AccessConditions: conditions(only), Tier: b.tier(), CPKScopeInfo: b.scope(),
	})
	if err != nil {
		return "", b.explain(err)
	}
	return version(out.ETag), nil
}

// PutPart implements cloud.Multipart. Azure deletes blocks that are not joined within a week.
func (b *bucket) PutPart(ctx context.Context, key, id string, part []byte) error {
	_, err := b.blob(key).StageBlock(ctx, blockID(id), streaming.NopCloser(bytes.NewReader(part)), &blockblob.StageBlockOptions{CPKScopeInfo: b.scope()})
	return b.explain(err)
}

func blockID(id string) string { return base64.StdEncoding.EncodeToString([]byte(id)) }

// Join implements cloud.Multipart.
func (b *bucket) Join(ctx context.Context, key string, ids []string, only cloud.Condition) (string, error) {
	blocks := make([]string, len(ids))
	for i, id := range ids {
		blocks[i] = blockID(id)
	}
	out, err := b.blob(key).CommitBlockList(ctx, blocks, &blockblob.CommitBlockListOptions{
		AccessConditions: conditions(only), Tier: b.tier(), CPKScopeInfo: b.scope(),
	})
	if err != nil {
		return "", b.explain(err)
	}
	return version(out.ETag), nil
}

// version returns the version of an ETag. Listings have ETags without their quotes.
func version(tag *azcore.ETag) string {
	if tag == nil || *tag == "" || strings.HasPrefix(string(*tag), `"`) {
		return string(valueOf(tag))
	}
	return `"` + string(*tag) + `"`
}

func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Get implements cloud.Bucket.
func (b *bucket) Get(ctx context.Context, key string) ([]byte, cloud.Info, error) {
	return b.GetPart(ctx, key, "", 0, 0)
}

// GetPart implements cloud.Bucket. Size 0 stands for the whole blob.
func (b *bucket) GetPart(ctx context.Context, key, of string, from, size int64) ([]byte, cloud.Info, error) {
	out, err := b.blob(key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: from, Count: size}, AccessConditions: ofVersion(of),
	})
	if err != nil {
		return nil, cloud.Info{}, b.explain(err)
	}
	bytes := valueOf(out.ContentLength)
	total := bytes
	if out.ContentRange != nil {
		var first, last int64
		if _, err := fmt.Sscanf(*out.ContentRange, "bytes %d-%d/%d", &first, &last, &total); err != nil || first != from || last-first+1 != bytes {
			return nil, cloud.Info{}, &cloud.Error{Err: fmt.Errorf("%d bytes from %d were asked for, and the answer has %q and %d bytes", size, from, *out.ContentRange, bytes)}
		}
	}
	content, err := cloud.ReadAll(out.Body, bytes)
	if err != nil {
		return nil, cloud.Info{}, b.explain(err)
	}
	return content, cloud.Info{Key: key, Bytes: total, Version: version(out.ETag), Written: valueOf(out.LastModified)}, nil
}

// Stat implements cloud.Bucket.
func (b *bucket) Stat(ctx context.Context, key string) (cloud.Info, error) {
	out, err := b.blob(key).GetProperties(ctx, nil)
	if err != nil {
		return cloud.Info{}, b.explain(err)
	}
	return cloud.Info{Key: key, Bytes: valueOf(out.ContentLength), Version: version(out.ETag), Written: valueOf(out.LastModified)}, nil
}

// List implements cloud.Bucket.
func (b *bucket) List(ctx context.Context, prefix, page string) ([]cloud.Info, string, error) {
	if b.key != nil {
		b.key.renew()
	}
	whole := b.opt.Prefix + prefix
	options := &container.ListBlobsFlatOptions{Prefix: &whole}
	if page != "" {
		options.Marker = &page
	}
	out, err := b.client.NewListBlobsFlatPager(options).NextPage(ctx)
	if err != nil {
		return nil, "", b.explain(err)
	}
	if out.Segment == nil {
		return nil, valueOf(out.NextMarker), nil
	}
	found := make([]cloud.Info, 0, len(out.Segment.BlobItems))
	for _, o := range out.Segment.BlobItems {
		if o.Name == nil || o.Properties == nil {
			continue
		}
		found = append(found, cloud.Info{
			Key: strings.TrimPrefix(*o.Name, b.opt.Prefix), Bytes: valueOf(o.Properties.ContentLength),
			Version: version(o.Properties.ETag), Written: valueOf(o.Properties.LastModified),
		})
	}
	return found, valueOf(out.NextMarker), nil
}

// Delete implements cloud.Bucket.
func (b *bucket) Delete(ctx context.Context, key, version string) error {
	with := blob.DeleteSnapshotsOptionTypeInclude
	_, err := b.blob(key).Delete(ctx, &blob.DeleteOptions{DeleteSnapshots: &with, AccessConditions: ofVersion(version)})
	return b.explain(err)
}
