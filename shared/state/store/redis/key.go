package redis

import (
	"strings"

	"github.com/eventflux/eventflux/shared/state/store"
)

// The braces of a key hold its hash tag: keys with the same tag are on the same node of a
// Cluster. An object and its pieces share one, and all objects of an app share the tag of
// the app's head. Without the braces, the rest of an object's key is its name.
//
// An app's data has other tags: blocks and runs belong to no app, and are spread.

// escapes keeps braces in names out of the keys.
var (
	escapes   = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")
	unescapes = strings.NewReplacer("%25", "%", "%7B", "{", "%7D", "}")
)

// tagged returns a name with braces around its hash tag.
func tagged(name string) string {
	tag := len(name)
	if rest, ok := strings.CutPrefix(name, "apps/"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			tag = len("apps/") + i
		}
	}
	return "{" + escapes.Replace(name[:tag]) + "}" + escapes.Replace(name[tag:])
}

// keysOf returns the key of an object, and the prefix of the keys of its pieces.
func (s *Store) keysOf(name string) []string {
	t := tagged(name)
	return []string{s.opt.Prefix + "o:" + t, s.opt.Prefix + "p:" + t + ":"}
}

// nameOf returns the name of the object under a key, or "" if it is none.
func (s *Store) nameOf(key string) string {
	rest, ok := strings.CutPrefix(key, s.opt.Prefix+"o:{")
	if !ok {
		return ""
	}
	name := unescapes.Replace(strings.Replace(rest, "}", "", 1))
	if store.CheckName(name) != nil || s.keysOf(name)[0] != key {
		return ""
	}
	return name
}

// pattern matches the keys of all objects with the name prefix, and maybe of others.
func (s *Store) pattern(prefix string) string {
	// Part of a name does not tell where the closing brace of the tag is.
	if rest, ok := strings.CutPrefix(prefix, "apps/"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			prefix = prefix[:len("apps/")+i]
		}
	}
	glob := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)
	return glob.Replace(s.opt.Prefix+"o:{"+escapes.Replace(prefix)) + "*"
}

func (s *Store) headKey(app string) string { return s.opt.Prefix + "h:" + tagged("apps/"+app) }
