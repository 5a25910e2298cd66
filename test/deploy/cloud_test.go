package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// cloudFiles are the files of the cluster with a bucket.
var cloudFiles = []string{"compose.yaml", "compose.cloud.yaml"}

// Every service that keeps or reads checkpoints has the bucket and its keys, and no other
// service does; nothing is left of Redis.
func TestServicesOfTheBucket(t *testing.T) {
	t.Setenv("S3_ACCESS_KEY", "the-access-key")
	t.Setenv("S3_SECRET_KEY", "the-secret-key")
	before, file := compose(t, "compose.yaml"), compose(t, cloudFiles...)
	for name, s := range file.Services {
		_, stateful := before.Services[name].Environment["EVENTFLUX_STORE_URL"]
		env := s.Environment
		switch {
		case name == "s3":
			if env["ROOT_ACCESS_KEY"] != "the-access-key" || env["ROOT_SECRET_KEY"] != "the-secret-key" {
				t.Errorf("s3 has other keys: %v", env)
			}
		case stateful:
			if env["EVENTFLUX_STORE_URL"] != "s3://eventflux/checkpoints?endpoint=http://s3:9000" || env["AWS_ACCESS_KEY_ID"] != "the-access-key" || env["AWS_SECRET_ACCESS_KEY"] != "the-secret-key" {
				t.Errorf("%s does not use the bucket: %v", name, env)
			}
			if s.DependsOn["s3"].Condition != "service_healthy" || s.DependsOn["nats-3"].Condition != "service_healthy" {
				t.Errorf("%s does not wait for the bucket and NATS: %v", name, s.DependsOn)
			}
		case env["AWS_SECRET_ACCESS_KEY"] != "":
			t.Errorf("%s has the keys of the bucket", name)
		}
		if name == "redis" || s.DependsOn["redis"].Condition != "" {
			t.Errorf("%s is or waits for Redis", name)
		}
	}
	t.Setenv("STORE_URL", "s3://another/x")
	if got := compose(t, cloudFiles...).Services["merger"].Environment["EVENTFLUX_STORE_URL"]; got != "s3://another/x" {
		t.Errorf("STORE_URL makes %q", got)
	}
}

// The processes of compose.yaml with compose.cloud.yaml make a checkpoint in the bucket.
func TestCheckpointInTheBucket(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("S3_ACCESS_KEY", s3test.AccessKey)
	t.Setenv("S3_SECRET_KEY", s3test.SecretKey)
	s := newStack(t, cloudFiles, "s3:9000", server.Addr, "s3://eventflux/", "s3://"+s3test.Bucket+"/")
	names := s.services()
	if testing.Short() { // one of each kind, and a majority
		names = []string{"checkpointer-1", "checkpointer-2", "ingest-1", "merger", "processor-1", "recovery-1"}
	}
	for _, name := range names {
		s.start(name)
	}
	for _, name := range names {
		s.running[name].awaitReady()
	}
	if out, err := s.command("operator", "app", "deploy", app, "--timeout", patience.String()); err != nil || !strings.Contains(out, "app Flights is deployed") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := s.command("operator", "checkpoint", "trigger", "Flights"); err != nil || !strings.Contains(out, "committed") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := s.command("operator", "checkpoint", "verify", "Flights"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if !slices.Contains(server.Names(), "checkpoints/.eventflux/heads/Flights.json") {
		t.Errorf("the bucket has %q", server.Names())
	}
}
