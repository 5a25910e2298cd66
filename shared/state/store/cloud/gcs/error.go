package gcs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

// explain says what an error means, and whether the request may be repeated.
func (b *bucket) explain(err error) error {
	if err == nil {
		return nil
	}
	var known *cloud.Error
	if errors.As(err, &known) {
		return err
	}
	kind, hint := b.classify(err)
	return &cloud.Error{Kind: kind, Hint: hint, Err: err}
}

func (b *bucket) classify(err error) (kind cloud.Kind, hint string) {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return cloud.Permanent, "the certificate of the server is not trusted; name its authority with ca=FILE"
	}
	var token *oauth2.RetrieveError
	if errors.As(err, &token) {
		return cloud.Passing, "the credentials are refused or have expired; renew them where they come from"
	}
	var api *googleapi.Error
	if !errors.As(err, &api) {
		return cloud.Passing, "the server cannot be reached"
	}
	switch {
	case api.Code == http.StatusNotFound && b.noBucket(api):
		return cloud.Permanent, fmt.Sprintf("there is no bucket %s; create it, or correct the URL", b.opt.Bucket)
	case api.Code == http.StatusNotFound:
		return cloud.Missing, ""
	case api.Code == http.StatusPreconditionFailed:
		return cloud.Unmet, ""
	case api.Code == http.StatusRequestedRangeNotSatisfiable:
		return cloud.Beyond, ""
	case api.Code == http.StatusUnauthorized:
		return cloud.Passing, "the server does not accept the credentials; correct them where they come from"
	case api.Code == http.StatusForbidden:
		return cloud.Permanent, "the credentials do not allow that; docs/stores.md has the rights that are needed"
	case api.Code == http.StatusInsufficientStorage:
		return cloud.Full, ""
	case api.Code == http.StatusTooManyRequests, api.Code == http.StatusServiceUnavailable:
		return cloud.Passing, "the server asks for fewer requests"
	case api.Code >= 500, api.Code == http.StatusRequestTimeout, api.Code == http.StatusConflict:
		return cloud.Passing, ""
	}
	return cloud.Permanent, ""
}

// noBucket reports whether the bucket is missing, not the object: only the text says so.
func (b *bucket) noBucket(err *googleapi.Error) bool {
	return strings.Contains(strings.ToLower(err.Message+err.Body), "bucket does not exist")
}
