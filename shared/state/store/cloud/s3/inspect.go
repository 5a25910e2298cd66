package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithy "github.com/aws/smithy-go"
)

// Inspect implements cloud.Inspector: it names the lifecycle rules that delete or archive
// what EventFlux still needs.
func (b *bucket) Inspect(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opt.Timeout)
	defer cancel()
	out, err := b.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &b.opt.Bucket})
	var api smithy.APIError
	switch {
	case errors.As(err, &api) && (api.ErrorCode() == "NoSuchLifecycleConfiguration" || api.ErrorCode() == "NotImplemented"):
		return nil, nil
	case err != nil:
		return nil, b.explain(err)
	}
	var found []string
	for i := range out.Rules {
		if text := b.harm(&out.Rules[i]); text != "" {
			found = append(found, text)
		}
	}
	return found, nil
}

// harm says what a rule does to objects of the store; "" if it does nothing to them.
func (b *bucket) harm(rule *types.LifecycleRule) string {
	if rule.Status != types.ExpirationStatusEnabled {
		return ""
	}
	prefix := prefixOf(rule)
	if !strings.HasPrefix(b.opt.Prefix, prefix) && !strings.HasPrefix(prefix, b.opt.Prefix) {
		return ""
	}
	name := fmt.Sprintf("lifecycle rule %q of bucket %s", aws.ToString(rule.ID), b.opt.Bucket)
	if e := rule.Expiration; e != nil && (e.Days != nil || e.Date != nil) {
		return name + " deletes objects of the store, which checkpoints still need"
	}
	for _, t := range rule.Transitions {
		if c := t.StorageClass; c == types.TransitionStorageClassGlacier || c == types.TransitionStorageClassDeepArchive {
			return fmt.Sprintf("%s archives objects of the store (%s), which cannot be read until someone restores them", name, c)
		}
	}
	return ""
}

func prefixOf(rule *types.LifecycleRule) string {
	switch f := rule.Filter; {
	case f != nil && f.And != nil:
		return aws.ToString(f.And.Prefix)
	case f != nil:
		return aws.ToString(f.Prefix)
	}
	//lint:ignore SA1019 older rules have it
	return aws.ToString(rule.Prefix)
}
