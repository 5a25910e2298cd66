package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/test/program"
)

// composeFile holds the parts of a compose file that the tests use.
type composeFile struct {
	Services map[string]service
	Volumes  map[string]any
	Configs  map[string]struct{ File string }
}

type service struct {
	Image       string
	Build       *struct{ Context, Dockerfile, Target string }
	Command     []string
	Environment map[string]string
	User        string
	ReadOnly    bool                                  `yaml:"read_only"`
	CapDrop     []string                              `yaml:"cap_drop"`
	SecurityOpt []string                              `yaml:"security_opt"`
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck *struct {
		Test    []string
		Disable bool
	}
	Restart  string
	Ports    []string
	Profiles []string
	Volumes  []mount
}

// mount is a volume in the long form, or in the short one as source:target:mode.
type mount struct {
	Type, Source, Target string
	ReadOnly             bool `yaml:"read_only"`
	Volume               struct{ Subpath string }
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *mount) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		type plain mount
		return n.Decode((*plain)(m))
	}
	parts := strings.Split(n.Value, ":")
	m.Source, m.Target, m.ReadOnly = parts[0], parts[1], len(parts) > 2 && parts[2] == "ro"
	return nil
}

// compose reads compose files of deploy. Each changes those before it, as docker compose has
// it for maps, and for the tags !reset and !override.
func compose(t testing.TB, names ...string) *composeFile {
	t.Helper()
	c := &composeFile{Services: map[string]service{}, Volumes: map[string]any{}, Configs: map[string]struct{ File string }{}}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(root, "deploy", name))
		must(t, err)
		text := interpolated(string(data))
		reset := regexp.MustCompile(`(?m)^  ([\w-]+): !reset null$`)
		gone := reset.FindAllStringSubmatch(text, -1)
		next := &composeFile{}
		must(t, yaml.Unmarshal([]byte(strings.ReplaceAll(reset.ReplaceAllString(text, ""), " !override", "")), next))
		for _, m := range gone {
			delete(c.Services, m[1])
			delete(c.Volumes, m[1])
		}
		for name, s := range next.Services {
			if former, ok := c.Services[name]; ok {
				maps.Copy(former.Environment, s.Environment)
				former.DependsOn = s.DependsOn
				s = former
			}
			s.Environment = maps.Clone(s.Environment) // an alias of the file shares it
			c.Services[name] = s
		}
		maps.Copy(c.Volumes, next.Volumes)
		maps.Copy(c.Configs, next.Configs)
	}
	return c
}

// interpolated replaces variables as docker compose does.
func interpolated(text string) string {
	return regexp.MustCompile(`\$\{(\w+)(:[-?]([^}]*))?\}`).ReplaceAllStringFunc(text, func(found string) string {
		name, rest, _ := strings.Cut(strings.Trim(found, "${}"), ":")
		if value := os.Getenv(name); value != "" || !strings.HasPrefix(rest, "-") {
			return value
		}
		return rest[1:]
	})
}

// role returns the folder of keys that a service sees.
func (s *service) role() string {
	for _, m := range s.Volumes {
		if m.Source == "secrets" {
			return m.Volume.Subpath
		}
	}
	return ""
}

// stack runs the services of compose.yaml as processes on loopback, each with the command and
// environment of its container. Only host names and folders differ.
type stack struct {
	t       testing.TB
	file    *composeFile
	secrets string
	servers []*natsServer
	places  *strings.Replacer
	data    map[string]string // data folders of the services that have one
	raft    map[string]string // addresses
	running map[string]*process
	all     []*process // every process that was started
}

// newStack prepares the services of compose files; places are pairs of an address of a
// container and one on loopback.
func newStack(t testing.TB, files []string, places ...string) *stack {
	t.Helper()
	s := &stack{
		t: t, file: compose(t, files...), secrets: keys(t),
		data: map[string]string{}, raft: map[string]string{}, running: map[string]*process{},
	}
	s.servers = cluster(t, s.secrets)
	for i, srv := range s.servers {
		name := fmt.Sprint("nats-", i+1)
		places = append(places, name+":4222", srv.listen(), name+":8222", srv.env["NATS_MONITOR"])
	}
	for name := range s.file.Services {
		if strings.HasPrefix(name, "checkpointer-") {
			s.raft[name] = program.Address(t)
			places = append(places, "="+name+":7000", "="+s.raft[name])
		}
		s.data[name] = t.TempDir()
	}
	if _, ok := s.file.Services["redis"]; ok {
		places = append(places, "redis:6379", redis(t, s.secrets))
	}
	s.places = strings.NewReplacer(places...)
	return s
}

// redis starts Redis with the configuration of deploy, and returns its address.
func redis(t testing.TB, secrets string) string {
	t.Helper()
	own, at := filepath.Join(secrets, "redis"), program.Address(t)
	_, port, err := net.SplitHostPort(at)
	must(t, err)
	conf, err := filepath.Abs(filepath.Join(root, "deploy/redis/redis.conf"))
	must(t, err)
	cmd := exec.Command("redis-server", conf, "--tls-port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--tls-ca-cert-file", own+"/ca.crt", "--tls-cert-file", own+"/tls.crt", "--tls-key-file", own+"/tls.key", "--aclfile", own+"/users.acl")
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("redis:\n%s", said.tail())
		}
	})
	eventually(t, "Redis listens", func() bool {
		c, err := net.Dial("tcp", at)
		return err == nil && c.Close() == nil
	})
	return at
}

// services returns the services whose command is `serve` with one service of this binary.
func (s *stack) services() []string {
	var names []string
	for name, one := range s.file.Services {
		if len(one.Command) == 3 && one.Command[0] == "serve" && slices.Contains(node.Services, one.Command[2]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// environment returns the environment of a service's container, for loopback.
func (s *stack) environment(name string) []string {
	s.t.Helper()
	one, ok := s.file.Services[name]
	if !ok {
		s.t.Fatalf("compose.yaml has no service %s", name)
	}
	var env []string
	for variable, value := range one.Environment {
		switch variable {
		case "EVENTFLUX_METRICS_LISTEN":
			value = "127.0.0.1:0"
		case "EVENTFLUX_DATA":
			value = s.data[name]
		case "EVENTFLUX_RAFT_LISTEN":
			value = s.raft[name]
		}
		value = strings.ReplaceAll(value, "/secrets/", filepath.Join(s.secrets, one.role())+"/")
		env = append(env, variable+"="+s.places.Replace(value))
	}
	return env
}

// start starts a service.
func (s *stack) start(name string) *process {
	s.t.Helper()
	p := s.launch(name, s.file.Services[name].Command...)
	s.running[name] = p
	return p
}

// launch starts the program with a service's environment.
func (s *stack) launch(name string, args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, name: name, cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir = s.environment(name), s.t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	must(s.t, p.cmd.Start())
	s.all = append(s.all, p)
	go func() {
		_ = p.cmd.Wait() // the exit code tells
		close(p.exited)
	}()
	s.t.Cleanup(func() {
		p.kill()
		if s.t.Failed() {
			s.t.Logf("%s: %s\n%s%s", p.name, p.cmd.ProcessState, p.out.tail(), p.log.tail())
		}
	})
	return p
}

// command runs a command as a service of the profile tools, and returns its output.
func (s *stack) command(name string, args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = s.environment(name)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s as %s: %w: %s", strings.Join(args, " "), name, err, out)
	}
	return string(out), err
}

// process is a running program.
type process struct {
	t        testing.TB
	name     string
	cmd      *exec.Cmd
	out, log output
	exited   chan struct{}
}

func (p *process) kill() {
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
	<-p.exited
}

// awaitReady waits until the process reports that it is ready.
func (p *process) awaitReady() {
	p.t.Helper()
	eventually(p.t, p.name+" is ready", func() bool {
		select {
		case <-p.exited:
			p.t.Fatalf("%s has ended: %s", p.name, p.cmd.ProcessState)
		default:
		}
		return strings.Contains(p.out.String(), "\nready;")
	})
}

// stop stops the process as compose does, and expects a clean exit.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // prints where it hangs
		<-p.exited
		p.t.Fatalf("%s still runs after %s", p.name, patience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ends with code %d after SIGTERM, want 0", p.name, code)
	}
}

// output collects the output of a process.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}
func (o *output) String() string { o.mu.Lock(); defer o.mu.Unlock(); return o.text.String() }

func (o *output) tail() string {
	const bytesMax = 3000
	s := o.String()
	return s[max(0, len(s)-bytesMax):]
}
