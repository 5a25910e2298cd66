package azure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

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
	var answer *azcore.ResponseError
	var denied *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &denied):
		return &cloud.Error{Kind: cloud.Passing, Hint: "the credentials are refused or have expired; renew them where they come from", Err: err}
	case errors.As(err, &answer):
		kind, hint := b.classify(answer)
		return &cloud.Error{Kind: kind, Hint: hint, Err: answered{answer}}
	}
	kind, hint := byNetwork(err)
	return &cloud.Error{Kind: kind, Hint: hint, Err: err}
}

// answered is an answer with an error, without the many lines that the SDK prints.
type answered struct{ *azcore.ResponseError }

func (a answered) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s (status %d)", a.ErrorCode, a.StatusCode))
}

func (a answered) Unwrap() error { return a.ResponseError }

// classify goes by the server's code, then by the status.
func (b *bucket) classify(answer *azcore.ResponseError) (kind cloud.Kind, hint string) {
	switch bloberror.Code(answer.ErrorCode) {
	case bloberror.BlobNotFound, bloberror.ResourceNotFound:
		return cloud.Missing, ""
	case bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted, bloberror.ContainerDisabled:
		return cloud.Permanent, fmt.Sprintf("there is no container %s; create it, or correct the URL", b.opt.Bucket)
	case bloberror.ConditionNotMet, bloberror.BlobAlreadyExists:
		return cloud.Unmet, ""
	case bloberror.InvalidRange:
		return cloud.Beyond, ""
	case bloberror.InvalidBlockList:
		// Another writer has written the blob, which drops the parts that wait.
		return cloud.Unmet, ""
	case bloberror.ServerBusy:
		return cloud.Passing, "the server asks for fewer requests"
	case bloberror.AuthenticationFailed:
		if strings.Contains(answer.Error(), "Request date header") {
			return cloud.Permanent, fmt.Sprintf("the clock of this machine says %s, which is too far from the server's; set it right, by NTP", time.Now().UTC().Format(time.RFC3339))
		}
		return cloud.Passing, b.refused()
	case bloberror.InvalidAuthenticationInfo, bloberror.NoAuthenticationInformation:
		return cloud.Passing, b.refused()
	case bloberror.AuthorizationFailure, bloberror.AuthorizationPermissionMismatch, bloberror.InsufficientAccountPermissions, bloberror.AccountIsDisabled:
		return cloud.Permanent, "the credentials do not allow that; docs/stores.md has the rights that are needed"
	case bloberror.BlobArchived, bloberror.BlobBeingRehydrated:
		return cloud.Permanent, "a lifecycle rule has archived the object; move it to an online tier, and exclude the prefix from the rule"
	case bloberror.BlobImmutableDueToPolicy:
		return cloud.Permanent, "an immutability policy keeps the object; EventFlux must be able to replace and delete objects below the prefix"
	case bloberror.LeaseIDMissing:
		return cloud.Permanent, "something else holds a lease on the object; break the lease"
	}
	return byStatus(answer.StatusCode), ""
}

// refused notes that the credentials are not accepted, and says what to do.
func (b *bucket) refused() (hint string) {
	if b.key == nil {
		return "the server does not accept the credentials; correct them where they come from"
	}
	b.key.refused()
	return "the server does not accept the shared key; correct it where it comes from, and a file is read again"
}

func byStatus(status int) cloud.Kind {
	switch {
	case status == http.StatusPreconditionFailed:
		return cloud.Unmet
	case status == http.StatusNotFound:
		return cloud.Missing // the answer to a HEAD, which has no body
	case status == http.StatusInsufficientStorage:
		return cloud.Full
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict:
		return cloud.Passing
	}
	return cloud.Permanent
}

func byNetwork(err error) (cloud.Kind, string) {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return cloud.Permanent, "the certificate of the server is not trusted; name its authority with ca=FILE"
	}
	if strings.Contains(err.Error(), "DefaultAzureCredential") { // the SDK has no type for it
		return cloud.Permanent, "there are no credentials; set AZURE_STORAGE_KEY, key_file= in the URL, AZURE_CLIENT_ID and its companions, or give the machine an identity"
	}
	var wire net.Error
	if errors.As(err, &wire) || errors.Is(err, context.DeadlineExceeded) {
		return cloud.Passing, "the server cannot be reached"
	}
	return cloud.Passing, ""
}
