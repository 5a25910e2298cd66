package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Source says where the value of a setting comes from.
type Source string

// The sources, a later one winning over an earlier one.
const (
	FromDefault Source = "default"
	FromFile    Source = "file"
	FromEnv     Source = "env"
	FromFlag    Source = "flag"
)

const (
	envPrefix = "EVENTFLUX_"
	fileFlag  = "config" // names the YAML file; its variable is EVENTFLUX_CONFIG
)

// AddFlags adds --config and a flag for every setting to fs.
func AddFlags(fs *pflag.FlagSet) {
	fs.String(fileFlag, "", "YAML file with settings")
	addFlags(fs, settings(new(Config)))
}

// AddClientFlags adds a flag for each setting that says who a client of NATS is.
func AddClientFlags(fs *pflag.FlagSet) {
	rows := settings(new(Config))
	addFlags(fs, slices.DeleteFunc(rows, func(s setting) bool { return !slices.Contains(clientSettings, s.name) }))
}

var clientSettings = []string{"nats.ca", "nats.cert", "nats.key", "nats.user", "nats.password_file", "nats.nkey", "nats.creds", "nats.token_file", "nats.context", "nats.inbox"}

func addFlags(fs *pflag.FlagSet, rows []setting) {
	for _, s := range rows {
		def := s.def
		if def == "" {
			def = `""`
		}
		// The default is in the text and not the flag's own: an unset flag has no value.
		fs.String(s.name, "", fmt.Sprintf("%s (default %s)", s.doc, def))
		fs.Lookup(s.name).NoOptDefVal = s.alone
	}
}

// Load returns the configuration from the file that --config or EVENTFLUX_CONFIG
// names, the variables of environ ("NAME=value") and the flags that were set. fs
// has been parsed. The error joins all problems that were found, each with its
// setting and where it was set.
func Load(fs *pflag.FlagSet, environ []string) (*Config, error) {
	path := ""
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, envName(fileFlag)+"="); ok {
			path = value
		}
	}
	if f := fs.Lookup(fileFlag); f != nil && f.Changed {
		path = f.Value.String()
	}
	return load(fs, path, environ)
}

// layer is what one source sets, by name. where tells a person the place.
type layer struct {
	source Source
	where  func(name string) string
	values map[string]any
}

func load(fs *pflag.FlagSet, path string, environ []string) (*Config, error) {
	c := &Config{ConfigFile: path, sources: map[string]Source{}}
	rows := settings(c)
	layers, problems := readLayers(rows, fs, path, environ)
	for _, row := range rows {
		c.sources[row.name] = FromDefault
		if err := row.set(row.def); err != nil {
			problems = append(problems, fmt.Errorf("default of %s: %w", row.name, err))
		}
		for _, l := range layers {
			value, ok := l.values[row.name]
			if !ok {
				continue
			}
			// A value that a later source overrides is checked all the same: it
			// would fail on the day the other is removed.
			if err := setValue(row, value); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", l.where(row.name), err))
			}
			c.sources[row.name] = l.source
		}
	}
	if len(problems) == 0 {
		if err := c.useContext(); err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return c, nil
}

func setValue(row setting, value any) error {
	switch value.(type) {
	case nil:
		return row.set("") // `url:` without a value
	case map[string]any, []any:
		return errors.New("is a list or a section where one value belongs")
	default:
		return row.set(strings.TrimSpace(fmt.Sprint(value)))
	}
}

func readLayers(rows []setting, fs *pflag.FlagSet, path string, environ []string) ([]layer, []error) {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.name
	}
	var layers []layer
	var problems []error
	if path != "" {
		l, errs := readFile(path, names)
		layers, problems = append(layers, l), append(problems, errs...)
	}
	l, errs := readEnv(environ, names)
	layers, problems = append(layers, l), append(problems, errs...)
	if fs != nil {
		l, err := readFlags(fs, names)
		if err != nil {
			problems = append(problems, err)
		}
		layers = append(layers, l)
	}
	return layers, problems
}

func readFile(path string, names []string) (layer, []error) {
	l := layer{source: FromFile, where: func(name string) string { return path + ": " + name }}
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		return l, []error{fmt.Errorf("read %s: %w", path, err)}
	}
	l.values = k.All()
	var problems []error
	for _, key := range sortedKeys(l.values) {
		switch {
		case slices.Contains(names, key), l.values[key] == nil && isSection(key, names):
		case isSection(key, names):
			problems = append(problems, fmt.Errorf("%s: %s is a section of settings and takes no value", path, key))
		default:
			problems = append(problems, fmt.Errorf("%s: unknown setting %s%s", path, key, suggest(key, names)))
		}
	}
	return l, problems
}

func readEnv(environ, names []string) (layer, []error) {
	l := layer{source: FromEnv, where: envName}
	variables := map[string]string{envName(fileFlag): ""}
	for _, name := range names {
		variables[envName(name)] = name
	}
	var problems []error
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			name, known := variables[variable]
			if !known {
				problems = append(problems, fmt.Errorf("%s: unknown setting%s", variable, suggest(variable, sortedKeys(variables))))
			}
			return name, value
		},
	}), nil)
	if err != nil {
		problems = append(problems, fmt.Errorf("read the environment: %w", err))
	}
	l.values = k.All()
	return l, problems
}

func readFlags(fs *pflag.FlagSet, names []string) (layer, error) {
	l := layer{source: FromFlag, where: func(name string) string { return "--" + name }}
	k := koanf.New(".")
	provider := posflag.ProviderWithFlag(fs, ".", nil, func(f *pflag.Flag) (string, any) {
		if !slices.Contains(names, f.Name) {
			return "", nil
		}
		return f.Name, f.Value.String()
	})
	if err := k.Load(provider, nil); err != nil {
		return l, fmt.Errorf("read the flags: %w", err)
	}
	l.values = k.All()
	return l, nil
}

func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

func isSection(key string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, key+".") })
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
