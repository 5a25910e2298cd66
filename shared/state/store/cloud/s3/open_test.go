package s3

import (
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/buckettest"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

func wantText(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q in it", what, err, text)
	}
	if err != nil && strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%s: a secret is in the error: %v", what, err)
	}
}

func openError(t *testing.T, url string) error {
	t.Helper()
	s, err := Open(within(t), url, quiet)
	if err == nil {
		must(t, s.Close())
	}
	return err
}

func TestWrongURL(t *testing.T) {
	for url, want := range map[string]string{
		"s3://":                             "names no bucket",
		"s3:bucket":                         "not of the form s3://BUCKET",
		"s3://host:9000/bucket":             "names no bucket",
		"s3://user:s3cr3t@bucket/x":         "never from the URL",
		"s3://b/a//b":                       "a part that is empty",
		"s3://b/.a":                         "starts with a dot",
		"s3://b?secret=s3cr3t":              `unknown parameter "secret"`,
		"s3://b?region=":                    "region is empty",
		"s3://b?region=a&region=b":          "region is there twice",
		"s3://b?endpoint=host:9000":         "not of the form https://HOST:PORT",
		"s3://b?endpoint=http://u:s3cr3t@h": "not of the form https://HOST:PORT",
		"s3://b?timeout=1":                  "no duration of 10ms or more",
		"s3://b?path_style=yes":             "none of true, false",
		"s3://b?sse=none":                   "none of AES256, aws:kms",
		"s3://b?kms_key=k":                  "kms_key without sse=aws:kms",
		"s3://b?deletes=never":              "none of checked, loose",
	} {
		err := openError(t, url)
		wantText(t, url, err, want)
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v is no ErrInvalid", url, err)
		}
	}
}

func TestWhatCannotKeepCheckpointsIsRefused(t *testing.T) {
	server := s3test.Start(t)
	for _, test := range []struct {
		method, header, want string
	}{
		{http.MethodPut, "If-None-Match", "no puts that only create"},
		{http.MethodPut, "If-Match", "no puts that replace only a known version"},
		{http.MethodDelete, "If-Match", "no deletes of only a known version"},
	} {
		server.Ignore(test.method, test.header)
		wantText(t, test.method+" without "+test.header, openError(t, server.URL("x")), test.want)
		err := openError(t, server.URL("x", "deletes=loose"))
		if loose := test.method == http.MethodDelete; loose != (err == nil) {
			t.Errorf("%s without %s and deletes=loose: %v", test.method, test.header, err)
		}
	}
	server.Intercept(nil)
	wantText(t, "no bucket", openError(t, strings.Replace(server.URL("x"), s3test.Bucket, "another", 1)), "there is no bucket another; create it")
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
		server.Refuse(buckettest.Denied, buckettest.Always(method))
		wantText(t, method+" is denied", openError(t, server.URL("x")), "docs/stores.md has the rights")
	}
	server.Intercept(nil)
	must(t, openError(t, server.URL("x")))
}

func TestCredentials(t *testing.T) {
	server := s3test.Start(t)
	t.Run("there are none", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		wantText(t, "open", openError(t, server.URL("x", "timeout=2s")), "there are no credentials; set AWS_ACCESS_KEY_ID")
	})
	t.Run("they are wrong", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
		wantText(t, "open", openError(t, server.URL("x", "timeout=2s")), "does not accept the credentials")
	})
	t.Run("of a file that is renewed", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		file := filepath.Join(t.TempDir(), "credentials")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		write := func(access, secret string) {
			must(t, os.WriteFile(file, []byte("[team]\naws_access_key_id = "+access+"\naws_secret_access_key = "+secret+"\n"), 0o600))
		}
		write(s3test.AccessKey, s3test.SecretKey)
		s := openAt(t, server.URL("x", "profile=team", "timeout=10s"))
		server.SetKeys(s3test.AccessKey, "another", "key")
		write("another", "key")
		must(t, s.Put(within(t), "a", []byte("x")))
		server.SetKeys("another", s3test.AccessKey, s3test.SecretKey)
	})
	t.Run("they have expired", func(t *testing.T) {
		s := openAt(t, server.URL("x", "timeout=2s"))
		server.Refuse(buckettest.Expired, buckettest.Always(""))
		defer server.Intercept(nil)
		wantText(t, "put", s.Put(within(t), "b", []byte("x")), "have expired; renew them")
	})
}

func TestTLS(t *testing.T) {
	server := s3test.StartTLS(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate()}), 0o600))
	wantText(t, "an unknown authority", openError(t, server.URL("x")), "name its authority with ca=FILE")
	s := openAt(t, server.URL("x", "ca="+file))
	must(t, s.Put(within(t), "a", []byte("x")))
	wantText(t, "no file", openError(t, server.URL("x", "ca=/nowhere")), "read the certificate authority")
	wantText(t, "no certificate", openError(t, server.URL("x", "ca=/dev/null")), "no certificate in PEM")
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
