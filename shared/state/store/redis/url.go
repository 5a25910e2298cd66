package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	prefixDefault  = "eventflux:"
	prefixBytesMax = 64
	timeoutDefault = 5 * time.Second
	// ttlDefault is far longer than a checkpoint takes, and still frees what a dead process
	// has left.
	ttlDefault = 24 * time.Hour
	ttlMin     = time.Minute
	poolMax    = 1000
)

// Options are the parts of a URL.
type Options struct {
	Addrs    []string // of the server, of Cluster nodes, or of Sentinels
	User     string
	Password string
	DB       int
	Prefix   string        // of all keys
	TTL      time.Duration // of objects that are not committed
	PoolSize int           // connections to each node; 0 for 10 per core
	Cluster  bool
	Master   string // as Sentinel calls it; "" without Sentinel
	Replicas int    // that must have a write before it counts
	// Timeout is how long one exchange with Redis may take, and how long a failed one is
	// repeated.
	Timeout time.Duration

	PasswordFile         string
	SentinelPasswordFile string

	TLS           bool
	CA, Cert, Key string // files; "" for the system's authorities, and for no certificate
}

// parameters are the parameters of a URL, with the function that reads each.
var parameters = map[string]func(*Options, string) error{
	"prefix":    (*Options).setPrefix,
	"ttl":       func(o *Options, v string) error { return duration(&o.TTL, v, ttlMin) },
	"timeout":   func(o *Options, v string) error { return duration(&o.Timeout, v, 10*time.Millisecond) },
	"pool_size": func(o *Options, v string) error { return count(&o.PoolSize, v, 1, poolMax) },
	"replicas":  func(o *Options, v string) error { return count(&o.Replicas, v, 0, 16) },
	"cluster": func(o *Options, v string) (err error) {
		if o.Cluster, err = strconv.ParseBool(v); err != nil {
			return errors.New("is neither true nor false")
		}
		return nil
	},
	"master":                 func(o *Options, v string) error { return notEmpty(&o.Master, v) },
	"password_file":          func(o *Options, v string) error { return notEmpty(&o.PasswordFile, v) },
	"sentinel_password_file": func(o *Options, v string) error { return notEmpty(&o.SentinelPasswordFile, v) },
	"ca":                     func(o *Options, v string) error { return notEmpty(&o.CA, v) },
	"cert":                   func(o *Options, v string) error { return notEmpty(&o.Cert, v) },
	"key":                    func(o *Options, v string) error { return notEmpty(&o.Key, v) },
	"addr": func(o *Options, v string) error {
		addr, err := address(v)
		o.Addrs = append(o.Addrs, addr)
		return err
	},
}

var errNoURL = errors.New("is no URL; write redis://USER:PASSWORD@HOST:PORT/DB?PARAMETER=VALUE, with %XX for what is special in a password")

// Parse reads redis://user:password@host:port/db?parameter=value, and rediss:// for TLS.
// Its errors never repeat a password, or anything that may be a part of one.
func Parse(text string) (*Options, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Opaque != "" {
		return nil, errNoURL
	}
	// The rest of a password after a '?' or '#' looks like parameters.
	if u.Fragment != "" || strings.Contains(u.RawQuery, "@") || strings.Contains(u.Path, "@") {
		return nil, errNoURL
	}
	o := &Options{Prefix: prefixDefault, TTL: ttlDefault, Timeout: timeoutDefault, TLS: u.Scheme == "rediss"}
	o.User = u.User.Username()
	o.Password, _ = u.User.Password()
	addr, err := address(u.Host)
	if err != nil {
		return nil, err
	}
	o.Addrs = []string{addr}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if err := count(&o.DB, db, 0, 1<<20); err != nil {
			return nil, fmt.Errorf("the number of the database %w", err)
		}
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters behind '?' are not NAME=VALUE with '&' between")
	}
	if err := o.set(values); err != nil {
		return nil, err
	}
	return o, o.check()
}

func (o *Options) set(values url.Values) error {
	var errs []error
	for _, name := range sorted(values) {
		set := parameters[name]
		if set == nil {
			errs = append(errs, fmt.Errorf("unknown parameter %q; there are %s", name, strings.Join(sorted(parameters), ", ")))
			continue
		}
		if len(values[name]) > 1 && name != "addr" {
			errs = append(errs, fmt.Errorf("parameter %s is there twice", name))
		}
		for _, value := range values[name] {
			if err := set(o, value); err != nil {
				errs = append(errs, fmt.Errorf("parameter %s %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// check refuses options that do not go together.
func (o *Options) check() error {
	switch {
	case o.Cluster && o.Master != "":
		return errors.New("cluster and master exclude each other: Sentinel does not watch a Cluster")
	case o.Cluster && o.DB != 0:
		return errors.New("a Cluster has no databases but 0")
	case len(o.Addrs) > 1 && !o.Cluster && o.Master == "":
		return errors.New("several addresses need cluster=true, or master=NAME for Sentinels")
	case o.SentinelPasswordFile != "" && o.Master == "":
		return errors.New("sentinel_password_file needs master=NAME")
	case !o.TLS && (o.CA != "" || o.Cert != "" || o.Key != ""):
		return errors.New("ca, cert and key need rediss://")
	case (o.Cert == "") != (o.Key == ""):
		return errors.New("cert and key need each other")
	case o.Password != "" && o.PasswordFile != "":
		return errors.New("there is a password, and a password_file")
	}
	return nil
}

// Name names the store for people, without any password.
func (o *Options) Name() string {
	name := "redis " + strings.Join(o.Addrs, ",")
	switch {
	case o.Cluster:
		name = "redis cluster " + strings.Join(o.Addrs, ",")
	case o.Master != "":
		name = fmt.Sprintf("redis %s of sentinel %s", o.Master, strings.Join(o.Addrs, ","))
	}
	if o.DB != 0 {
		name += "/" + strconv.Itoa(o.DB)
	}
	return name
}

// setPrefix accepts a prefix that keeps the hash tag of a key intact, and that a person can
// type.
func (o *Options) setPrefix(v string) error {
	if len(v) > prefixBytesMax || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`{}*?[]\^`, r) }) {
		return fmt.Errorf("has more than %d bytes, or other than printable ASCII without {}*?[]\\^", prefixBytesMax)
	}
	o.Prefix = v
	return nil
}

func address(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), "6379"
	}
	if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 {
		return "", errors.New("an address is not HOST:PORT") // not the text: it may hold a password
	}
	return net.JoinHostPort(host, port), nil
}

func duration(to *time.Duration, text string, low time.Duration) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < low {
		return fmt.Errorf("is no duration of %s or more, such as 90s", low)
	}
	*to = d
	return nil
}

func count(to *int, text string, low, high int) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return fmt.Errorf("is no whole number from %d to %d", low, high)
	}
	*to = n
	return nil
}

func notEmpty(to *string, text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	*to = text
	return nil
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
