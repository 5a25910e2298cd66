// Package gcs accesses the buckets of Google Cloud Storage. The version of an object is its
// generation.
package gcs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"
	htransport "google.golang.org/api/transport/http"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

type bucket struct {
	opt       *Options
	objects   *storage.ObjectsService
	transport *http.Transport
}

var _ cloud.Bucket = (*bucket)(nil)

// Open opens the store in the bucket that a URL names, as Parse reads it. The credentials
// are the application default credentials; an endpoint without TLS is an emulator and gets
// none.
func Open(ctx context.Context, url string, log *slog.Logger) (*cloud.Store, error) {
	opt, err := Parse(url)
	if err != nil {
		return nil, fmt.Errorf("%w: gs: the URL %w", store.ErrInvalid, err)
	}
	b, err := open(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", opt.Name(), err)
	}
	return cloud.Open(ctx, b, opt.Options, log)
}

func open(ctx context.Context, opt *Options) (*bucket, error) {
	transport, err := opt.Transport()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport}
	var options []option.ClientOption
	if opt.Endpoint != "" {
		options = append(options, option.WithEndpoint(opt.Endpoint+"/storage/v1/"))
	}
	if !strings.HasPrefix(opt.Endpoint, "http:") {
		if client.Transport, err = htransport.NewTransport(ctx, transport, option.WithScopes(storage.DevstorageReadWriteScope)); err != nil {
			return nil, fmt.Errorf("there are no credentials; set GOOGLE_APPLICATION_CREDENTIALS, run gcloud auth application-default login, or give the machine a service account: %w", err)
		}
	}
	service, err := storage.NewService(ctx, append(options, option.WithHTTPClient(client))...)
	if err != nil {
		return nil, err
	}
	return &bucket{opt: opt, objects: service.Objects, transport: transport}, nil
}

// Name implements cloud.Bucket.
func (b *bucket) Name() string { return b.opt.Name() }

// Close implements cloud.Bucket.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// never says that a request is not repeated: the store does that.
func never(error) bool { return false }

// Put implements cloud.Bucket.
func (b *bucket) Put(ctx context.Context, key string, content []byte, only cloud.Condition) (string, error) {
	call := b.objects.Insert(b.opt.Bucket, &storage.Object{Name: b.opt.Prefix + key, StorageClass: b.opt.StorageClass}).
		Context(ctx).WithRetry(nil, never).
		Media(bytes.NewReader(content), googleapi.ChunkSize(0), googleapi.ContentType("application/octet-stream"))
	if b.opt.KMSKey != "" {
		call = call.KmsKeyName(b.opt.KMSKey)
	}
	switch {
	case only.Absent:
		call = call.IfGenerationMatch(0)
	case only.Version != "":
		generation, err := generationOf(only.Version)
		if err != nil {
			return "", err
		}
		call = call.IfGenerationMatch(generation)
	}
	o, err := call.Do()
	if err != nil {
		return "", b.explain(err)
	}
	return version(o.Generation), nil
}

func version(generation int64) string { return strconv.FormatInt(generation, 10) }

func generationOf(version string) (int64, error) {
	g, err := strconv.ParseInt(version, 10, 64)
	if err != nil || g == 0 {
		return 0, &cloud.Error{Err: fmt.Errorf("%q is no generation", version)}
	}
	return g, nil
}

// Get implements cloud.Bucket.
func (b *bucket) Get(ctx context.Context, key string) ([]byte, cloud.Info, error) {
	content, header, err := b.download(b.objects.Get(b.opt.Bucket, b.opt.Prefix+key).Context(ctx))
	if err != nil {
		return nil, cloud.Info{}, err
	}
	return content, infoOf(key, header, int64(len(content))), nil
}

// GetPart implements cloud.Bucket.
func (b *bucket) GetPart(ctx context.Context, key, of string, from, size int64) ([]byte, cloud.Info, error) {
	call := b.objects.Get(b.opt.Bucket, b.opt.Prefix+key).Context(ctx)
	if of != "" {
		generation, err := generationOf(of)
		if err != nil {
			return nil, cloud.Info{}, err
		}
		call = call.IfGenerationMatch(generation)
	}
	call.Header().Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+size-1))
	content, header, err := b.download(call)
	if err != nil {
		return nil, cloud.Info{}, err
	}
	part, total, err := cloud.PartOf(content, header.Get("Content-Range"), from, size)
	return part, infoOf(key, header, total), err
}

func (b *bucket) download(call *storage.ObjectsGetCall) ([]byte, http.Header, error) {
	r, err := call.Download()
	if err != nil {
		return nil, nil, b.explain(err)
	}
	content, err := cloud.ReadAll(r.Body, r.ContentLength)
	if err != nil {
		return nil, nil, b.explain(err)
	}
	return content, r.Header, nil
}

// infoOf describes the object of a download.
func infoOf(key string, header http.Header, bytes int64) cloud.Info {
	written, err := http.ParseTime(header.Get("Last-Modified"))
	if err != nil {
		written = time.Time{} // only a stat decides by it
	}
	return cloud.Info{Key: key, Bytes: bytes, Version: header.Get("X-Goog-Generation"), Written: written}
}

// Stat implements cloud.Bucket.
func (b *bucket) Stat(ctx context.Context, key string) (cloud.Info, error) {
	o, err := b.objects.Get(b.opt.Bucket, b.opt.Prefix+key).Context(ctx).Do()
	if err != nil {
		return cloud.Info{}, b.explain(err)
	}
	return b.info(o)
}

func (b *bucket) info(o *storage.Object) (cloud.Info, error) {
	written, err := time.Parse(time.RFC3339, o.Updated)
	if err != nil {
		return cloud.Info{}, &cloud.Error{Err: fmt.Errorf("the time of %s: %w", o.Name, err)}
	}
	return cloud.Info{Key: strings.TrimPrefix(o.Name, b.opt.Prefix), Bytes: int64(o.Size), Version: version(o.Generation), Written: written}, nil
}

// List implements cloud.Bucket.
func (b *bucket) List(ctx context.Context, prefix, page string) ([]cloud.Info, string, error) {
	answer, err := b.objects.List(b.opt.Bucket).Context(ctx).Prefix(b.opt.Prefix+prefix).PageToken(page).
		Fields("nextPageToken", "items(name,size,generation,updated)").Do()
	if err != nil {
		return nil, "", b.explain(err)
	}
	found := make([]cloud.Info, 0, len(answer.Items))
	for _, o := range answer.Items {
		at, err := b.info(o)
		if err != nil {
			return nil, "", err
		}
		found = append(found, at)
	}
	return found, answer.NextPageToken, nil
}

// Delete implements cloud.Bucket.
func (b *bucket) Delete(ctx context.Context, key, version string) error {
	call := b.objects.Delete(b.opt.Bucket, b.opt.Prefix+key).Context(ctx)
	if version != "" {
		generation, err := generationOf(version)
		if err != nil {
			return err
		}
		call = call.IfGenerationMatch(generation)
	}
	return b.explain(call.Do())
}
