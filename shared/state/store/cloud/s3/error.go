package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

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
	return &cloud.Error{Kind: kind, Hint: hint, Err: short(err)}
}

// short leaves out what the SDK says around the server's answer.
func short(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Errorf("%s: %w", api.ErrorCode(), messageOf{api})
	}
	return err
}

// messageOf is an error of the server without the code, which short has.
type messageOf struct{ smithy.APIError }

func (m messageOf) Error() string { return m.ErrorMessage() }
func (m messageOf) Unwrap() error { return m.APIError }

// classify goes by the server's code, then by the status, then by what the network says.
func (b *bucket) classify(err error) (kind cloud.Kind, hint string) {
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch code {
	case "NoSuchKey", "NotFound": // the latter is what the SDK makes of an answer without a body
		return cloud.Missing, ""
	case "NoSuchBucket":
		return cloud.Permanent, fmt.Sprintf("there is no bucket %s; create it, or correct the URL", b.opt.Bucket)
	case "PreconditionFailed":
		return cloud.Unmet, ""
	case "InvalidRange":
		return cloud.Beyond, ""
	case "ConditionalRequestConflict", "OperationAborted":
		return cloud.Passing, "another request changes the object at the same time"
	case "SlowDown", "RequestLimitExceeded", "Throttling", "TooManyRequests":
		return cloud.Passing, "the server asks for fewer requests"
	case "RequestTimeTooSkewed":
		return cloud.Permanent, fmt.Sprintf("the clock of this machine says %s, which is too far from the server's; set it right, by NTP", time.Now().UTC().Format(time.RFC3339))
	case "ExpiredToken", "TokenRefreshRequired", "InvalidToken":
		b.credentials.refused()
		return cloud.Passing, "the credentials have expired; renew them where they come from, and they are read again"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		b.credentials.refused()
		return cloud.Passing, "the server does not accept the credentials; correct them where they come from, and they are read again"
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return cloud.Permanent, "the credentials do not allow that; docs/stores.md has the rights that are needed"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return cloud.Permanent, "the bucket is in another region; correct region="
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity":
		return cloud.Full, ""
	case "NotImplemented":
		return cloud.Permanent, "the server does not have what is needed"
	}
	if kind, known := byStatus(err); known {
		return kind, ""
	}
	return byNetwork(err)
}

func byStatus(err error) (kind cloud.Kind, known bool) {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) {
		return 0, false
	}
	switch status := response.HTTPStatusCode(); {
	case status == http.StatusPreconditionFailed:
		return cloud.Unmet, true
	case status == http.StatusInsufficientStorage:
		return cloud.Full, true
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict:
		return cloud.Passing, true
	case status >= 400:
		return cloud.Permanent, true
	}
	return 0, false // an answer that was cut off
}

func byNetwork(err error) (cloud.Kind, string) {
	if strings.Contains(err.Error(), "get credentials") { // the SDK has no type for it
		return cloud.Permanent, "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine"
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return cloud.Permanent, "the certificate of the server is not trusted; name its authority with ca=FILE"
	}
	var wire net.Error
	if errors.As(err, &wire) || errors.Is(err, context.DeadlineExceeded) {
		return cloud.Passing, "the server cannot be reached"
	}
	return cloud.Passing, ""
}
