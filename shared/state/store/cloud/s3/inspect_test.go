package s3

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/testing/buckettest"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// A rule that deletes or archives what is in the store is named, and no other rule is.
func TestHarmfulRules(t *testing.T) {
	server := s3test.Start(t)
	s := openAt(t, server.URL("team/flux"))
	const expires, archives = "<Expiration><Days>30</Days></Expiration>", "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"
	for _, test := range []struct{ status, prefix, does, want string }{
		{"Enabled", "", expires, "deletes objects of the store"},
		{"Enabled", "team/", expires, "deletes objects of the store"},
		{"Enabled", "team/flux/blocks/", archives, "archives objects of the store (GLACIER)"},
		{"Enabled", "other/", expires, ""},
		{"Disabled", "", expires, ""},
		{"Enabled", "", "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>", ""},
		{"Enabled", "", "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>", ""},
	} {
		server.Intercept(func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, "<LifecycleConfiguration><Rule><ID>r</ID><Status>%s</Status><Filter><Prefix>%s</Prefix></Filter>%s</Rule></LifecycleConfiguration>", test.status, test.prefix, test.does)
			})
		})
		found, err := s.Inspect(within(t))
		must(t, err)
		if got := strings.Join(found, "; "); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q", test, got)
		}
	}
	for code, want := range map[string]bool{"NoSuchLifecycleConfiguration": true, "AccessDenied": false} {
		server.RefuseAs(http.StatusNotFound, code, buckettest.First(1, ""))
		if _, err := s.Inspect(within(t)); (err == nil) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}
