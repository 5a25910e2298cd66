package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"

	"github.com/eventflux/eventflux/cli/certs"
)

// Every container runs with the least it needs: not as root, without capabilities, with only its
// own volume writable and only its own keys.
func TestContainersAreConfined(t *testing.T) {
	for _, names := range [][]string{{"compose.yaml"}, {"compose.single.yaml"}, cloudFiles} {
		file := compose(t, names...)
		for name, s := range file.Services {
			if s.User != "10001:10001" && name != "prometheus" { // its image has its own user
				t.Errorf("%s runs as %q", name, s.User)
			}
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s is not confined: %+v", name, s)
			}
			if tool := slices.Contains(s.Profiles, "tools"); s.Healthcheck == nil && name != "prometheus" || tool && !s.Healthcheck.Disable {
				t.Errorf("%s has no health check, or is a tool and has one", name)
			}
			for _, p := range s.Ports {
				if !strings.HasPrefix(p, "127.0.0.1:") {
					t.Errorf("%s is reached from outside, at %s", name, p)
				}
			}
			for _, m := range s.Volumes {
				_, named := file.Volumes[m.Source]
				if !named && !m.ReadOnly {
					t.Errorf("%s writes to %s of the host", name, m.Source)
				}
				if m.Source == "secrets" && name != "certs" && (m.Volume.Subpath == "" || !m.ReadOnly || !strings.HasPrefix(name, strings.TrimRight(m.Volume.Subpath, "-123"))) {
					t.Errorf("%s sees the keys of %q, read-only: %v", name, m.Volume.Subpath, m.ReadOnly)
				}
			}
			for on := range s.DependsOn {
				if _, ok := file.Services[on]; !ok {
					t.Errorf("%s waits for %s, which there is not", name, on)
				}
			}
		}
	}
}

// The services are those of the cluster, and each NATS user has keys, an entry in auth.conf and, if
// it gets answers, its own inbox prefix.
func TestServicesAndUsers(t *testing.T) {
	file := compose(t, "compose.yaml")
	count := map[string]int{}
	for name, s := range file.Services {
		if len(s.Profiles) == 0 {
			count[strings.TrimRight(name, "-123")]++
		}
		if inbox := s.Environment["EVENTFLUX_NATS_INBOX"]; inbox != "" && inbox != "EF_INBOX."+strings.TrimRight(s.role(), "-123") {
			t.Errorf("%s gets answers on %s", name, inbox)
		}
	}
	// The certificate holds the server's name, not the address that it would advertise.
	for name, s := range file.Services {
		if strings.HasPrefix(name, "nats-") && (s.Environment["NATS_ADVERTISE"] != name+":4222" || s.Environment["NATS_CLUSTER_ADVERTISE"] != name+":6222") {
			t.Errorf("others find %s at %s and %s", name, s.Environment["NATS_ADVERTISE"], s.Environment["NATS_CLUSTER_ADVERTISE"])
		}
	}
	want := map[string]int{"nats": 3, "checkpointer": 3, "ingest": 2, "processor": 3, "merger": 1, "recovery": 2, "redis": 1, "prometheus": 1, "certs": 1}
	for name, n := range want {
		if count[name] != n {
			t.Errorf("%d of %s, want %d", count[name], name, n)
		}
	}
	auth, err := os.ReadFile(filepath.Join(root, "deploy/nats/auth.conf"))
	must(t, err)
	for _, u := range certs.Users {
		if strings.Count(string(auth), "nkey: $"+certs.Variable(u)+"\n") != 1 {
			t.Errorf("auth.conf does not have user %s once", u)
		}
	}
	// Prometheus scrapes every process.
	var scrape struct {
		Jobs []struct {
			DNS []struct {
				Names []string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	data, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/prometheus.yml"))
	must(t, err)
	must(t, yaml.Unmarshal(data, &scrape))
	scraped := map[string]bool{}
	for _, j := range scrape.Jobs {
		for _, c := range j.DNS {
			for _, name := range c.Names {
				scraped[fmt.Sprintf("%s:%d", name, c.Port)] = true
			}
		}
	}
	for name, s := range file.Services {
		if s.Environment["EVENTFLUX_METRICS_LISTEN"] != "" && !scraped[name+":9464"] {
			t.Errorf("Prometheus does not scrape %s", name)
		}
	}
}

// The build targets of the compose files are stages of the Dockerfile, and the files that it copies
// exist.
func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	must(t, err)
	text := string(data)
	for _, names := range [][]string{{"compose.yaml"}, {"compose.single.yaml"}, cloudFiles} {
		for service, s := range compose(t, names...).Services {
			if s.Build != nil && !strings.Contains(text, " AS "+s.Build.Target+"\n") {
				t.Errorf("%s builds %s, which is no stage", service, s.Build.Target)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^COPY (deploy/.*) \S+$`).FindAllStringSubmatch(text, -1) {
		for _, path := range strings.Fields(m[1]) {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("the Dockerfile copies what is not there: %v", err)
			}
		}
	}
	for _, stage := range strings.Split(text, "\nFROM ")[1:] {
		if !strings.HasPrefix(stage, "${GO_IMAGE}") && !strings.Contains(stage, "USER 10001:10001") {
			t.Errorf("a stage runs as root:\n%s", stage)
		}
	}
}
