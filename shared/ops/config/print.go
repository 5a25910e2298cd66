package config

import (
	"fmt"
	"io"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

// Setting is one setting as a person or a program reads it.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"` // as it would be set; secrets in URLs are masked
	Source Source `json:"source"`
	Unit   string `json:"unit,omitempty"`
	Doc    string `json:"doc"`
}

// Settings lists every setting in the order of the table.
func (c *Config) Settings() []Setting {
	rows := settings(c)
	list := make([]Setting, len(rows))
	for i, row := range rows {
		list[i] = Setting{
			Name: row.name, Value: secret.URL(row.get()), Source: c.sources[row.name],
			Unit: row.unit, Doc: row.doc,
		}
	}
	return list
}

// WriteYAML writes the settings as a configuration file, with the source of each
// value as a comment.
func (c *Config) WriteYAML(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	sections := map[string]*yaml.Node{"": root}
	for _, s := range c.Settings() {
		section, key := "", s.Name
		if i := strings.LastIndexByte(s.Name, '.'); i >= 0 {
			section, key = s.Name[:i], s.Name[i+1:]
		}
		node := sections[section]
		if node == nil {
			node = &yaml.Node{Kind: yaml.MappingNode}
			sections[section] = node
			root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: section}, node)
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Value: s.Value}
		if s.Unit == "" {
			value.SetString(s.Value) // quoted where YAML would read something else
		}
		value.LineComment = c.origin(s)
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return enc.Close()
}

func (c *Config) origin(s Setting) string {
	switch s.Source {
	case FromFile:
		return "file " + c.ConfigFile
	case FromEnv:
		return "env " + envName(s.Name)
	case FromFlag:
		return "flag --" + s.Name
	default:
		return string(s.Source)
	}
}
