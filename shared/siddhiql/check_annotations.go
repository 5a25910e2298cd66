package siddhiql

import (
	"strconv"
	"strings"
)

const (
	partitionsMax = 256
	appNameMax    = 100 // bytes
)

// pendingSink is a @sink, which can be judged only when all queries are known.
type pendingSink struct {
	*Annotation
	stream string // of the definition that has it, or ""
}

func is(a *Annotation, name string) bool { return strings.EqualFold(a.Name, name) }

// appAnnotations reads @app:…. Unknown ones are ignored, and of equal ones the
// first counts.
func (c *checker) appAnnotations(list []*Annotation) {
	seen := map[string]bool{}
	for _, a := range list {
		name := strings.ToLower(a.Name)
		if seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "app:name":
			c.appName(a)
		case "app:partitions":
			c.appPartitions(a)
		case "app:playback":
			c.plan.Playback = true
			if len(a.Elems) > 0 {
				c.errorf(a.Elems[0].Pos, "`@app:playback` takes no settings here: the clock moves with events and ticks in the log alone")
			}
		}
	}
}

// value returns the one value of an annotation such as @app:name('X').
func (c *checker) value(a *Annotation) (v string, at Pos, ok bool) {
	if len(a.Elems) != 1 || a.Elems[0].Key != "" || a.Elems[0].Nested != nil {
		c.errorf(a.Pos, "`@%s` takes one value in quotes: write `@%s('…')`", a.Name, a.Name)
		return "", Pos{}, false
	}
	return a.Elems[0].Value, a.Elems[0].Pos, true
}

func (c *checker) appName(a *Annotation) {
	name, at, ok := c.value(a)
	if !ok {
		return
	}
	bad := strings.ContainsFunc(name, func(r rune) bool { return r > 0x7f || !isLetter(byte(r)) && !isDigit(byte(r)) && r != '-' })
	if bad || name == "" || len(name) > appNameMax {
		c.errorf(at, "the app's name '%s' becomes part of NATS subjects and of JetStream streams' names: expected 1 to %d letters A-Z, digits, `_` and `-`", shorten(name), appNameMax)
		return
	}
	c.plan.Name = name
}

func (c *checker) appPartitions(a *Annotation) {
	text, at, ok := c.value(a)
	if !ok {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > partitionsMax {
		c.errorf(at, "found '%s' partitions, expected a whole number from 1 to %d", shorten(text), partitionsMax)
		return
	}
	c.plan.Partitions = n
}

// elems returns an annotation's elements by key. Other keys than those allowed,
// and repeated ones, are errors.
func (c *checker) elems(a *Annotation, allowed ...string) (map[string]*AnnotationElem, bool) {
	found := map[string]*AnnotationElem{}
	good := true
	for _, e := range a.Elems {
		key := strings.ToLower(e.Key)
		switch {
		case e.Nested != nil:
			c.errorf(e.Pos, "found `@%s` inside `@%s`, expected %s", e.Nested.Name, a.Name, listOf(allowed, "or"))
		case key == "":
			c.errorf(e.Pos, "found '%s' in `@%s`, expected a key before it: %s", shorten(e.Value), a.Name, listOf(allowed, "or"))
		case !contains(allowed, key):
			c.errorf(e.Pos, "unknown key %s of `@%s`%s", tick(e.Key), a.Name, didYouMean(e.Key, allowed))
		case found[key] != nil:
			c.errorf(e.Pos, "the key %s of `@%s` stands twice", tick(e.Key), a.Name)
		default:
			found[key] = e
			continue
		}
		good = false
	}
	return found, good
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// streamAnnotations reads the annotations of a definition.
func (c *checker) streamAnnotations(d *StreamDef, s *Stream) {
	sourced := false
	for _, a := range d.Annotations {
		switch {
		case is(a, "source") && sourced:
			c.errorf(a.Pos, "stream %s has two `@source`: expected one subject, which may have wildcards", tick(s.Name))
		case is(a, "source"):
			sourced = true
			c.source(a, s)
		case is(a, "sink"):
			c.pending = append(c.pending, pendingSink{a, s.Name})
		}
	}
}

func (c *checker) source(a *Annotation, s *Stream) {
	elems, good := c.elems(a, "subject")
	if !good {
		return
	}
	e := elems["subject"]
	if e == nil {
		c.errorf(a.Pos, "`@source` names no subject: write `@source(subject='…')`, or leave it out for `%s`", s.Subject)
		return
	}
	if why := badSubject(e.Value, c.plan.Name); why != "" {
		c.errorf(e.Pos, "the subject '%s' %s", shorten(e.Value), why)
		return
	}
	s.Subject = e.Value
}

// badSubject says why an app cannot take its events from a subject, or "".
func badSubject(subject, app string) string {
	tokens := strings.Split(subject, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return "has an empty token: expected tokens joined by single dots, such as `sensors.*.temperature`"
		case t == ">" && i < len(tokens)-1:
			return "has `>` before its end: it stands for all tokens that follow"
		case i == 0 && (t == "*" || t == ">"):
			return "begins with a wildcard, and so takes in EventFlux's own subjects: expected a word first"
		case t == "*" || t == ">":
		case strings.ContainsAny(t, "*>"):
			return "has a wildcard inside a token: expected `*`, or `>` at the end, as a token of its own"
		case badToken(t) != "":
			return "has a token that " + badToken(t)
		}
	}
	if first := tokens[0]; first == "ef" || first == "dlq" || strings.HasPrefix(first, "$") {
		return "begins with " + tick(first) + ", which is kept for EventFlux and NATS: expected another first token"
	}
	if tokens[0] == "out" {
		return badLink(tokens, app)
	}
	return ""
}

// badLink says why an app cannot read results from the subject of these tokens,
// the first of which is `out`, or "".
func badLink(tokens []string, app string) string {
	whole := len(tokens) == 4 && tokens[1] != "*" && tokens[2] != "*" && (tokens[3] == "*" || isPartition(tokens[3]))
	switch {
	case !whole:
		return "begins with `out`, where the results of apps are: expected `out.<app>.<Stream>.<p>` for those of partition p, or `out.<app>.<Stream>.*` for those of all"
	case tokens[1] == app:
		return "has the app's own results, which would feed it without end: expected those of another app"
	}
	return ""
}

// isPartition reports whether a token is the number of a partition as subjects
// have it.
func isPartition(token string) bool {
	n, err := strconv.ParseUint(token, 10, 32)
	return err == nil && n < partitionsMax && strconv.FormatUint(n, 10) == token
}

// elementAnnotation reads an annotation of a query or a partition that both can have.
func (c *checker) elementAnnotation(a *Annotation, of string) {
	switch {
	case is(a, "sink"):
		c.pending = append(c.pending, pendingSink{Annotation: a})
	case is(a, "source"):
		c.errorf(a.Pos, "found `@source` on %s: expected it on a definition, where events come in", of)
	}
}

func (c *checker) queryAnnotations(d *QueryDef, q *Query) {
	for _, a := range d.Annotations {
		if !is(a, "info") {
			c.elementAnnotation(a, "a query")
			continue
		}
		for _, e := range a.Elems {
			if strings.EqualFold(e.Key, "name") && q.Name == "" {
				c.queryName(e, q)
			}
		}
		if q.Name == "" && (len(a.Elems) == 0 || a.Elems[0].Key == "") {
			c.errorf(a.Pos, "`@info` names no query: write `@info(name='…')`")
		}
	}
}

func (c *checker) queryName(e *AnnotationElem, q *Query) {
	first, taken := c.names[e.Value]
	switch {
	case e.Value == "":
		c.errorf(e.Pos, "the query's name is empty")
	case taken:
		c.errorf(e.Pos, "two queries are called '%s': first at %s", shorten(e.Value), first)
	default:
		c.names[e.Value] = e.Pos
	}
	q.Name = e.Value
}

// sinks applies every @sink, now that it is known which streams have rows.
func (c *checker) sinks() {
	seen := map[string]Pos{}
	for _, p := range c.pending {
		elems, good := c.elems(p.Annotation, "stream", "pack", "publish")
		if !good {
			continue
		}
		name, at := p.stream, p.Pos
		if e := elems["stream"]; e != nil {
			name, at = e.Value, e.Pos
		}
		k := c.sinkStream(name, at)
		if k == nil {
			continue
		}
		if first, taken := seen[name]; taken {
			c.errorf(at, "stream %s has two `@sink`: first at %s", tick(name), first)
			continue
		}
		seen[name] = at
		c.sink(elems, &k.stream.Sink)
	}
}

// sinkStream finds the stream that a @sink is about, or says why there is none.
func (c *checker) sinkStream(name string, at Pos) *known {
	k := c.outer[name]
	switch {
	case name == "":
		c.errorf(at, "`@sink` here names no stream: write `@sink(stream='…', …)`")
	case strings.HasPrefix(name, "#"):
		c.errorf(at, "inner streams such as %s are never published: expected a stream outside partitions", tick(name))
	case k == nil:
		c.errorf(at, "unknown stream %s in `@sink`%s", tick(name), didYouMean(name, c.targetNames()))
	case !k.target:
		c.errorf(at, "no query inserts into stream %s of `@sink`: there is nothing to publish", tick(name))
	default:
		return k
	}
	return nil
}

func (c *checker) targetNames() []string {
	var names []string
	for _, s := range c.plan.Streams {
		if k := c.outer[s.Name]; s.Block < 0 && k != nil && k.target {
			names = append(names, s.Name)
		}
	}
	return names
}

func (c *checker) sink(elems map[string]*AnnotationElem, s *Sink) {
	if e := elems["pack"]; e != nil {
		s.Packed = strings.EqualFold(e.Value, "ndjson")
		if !s.Packed {
			c.errorf(e.Pos, "unknown pack '%s': expected 'ndjson', or no `pack` for one JSON object to a message", shorten(e.Value))
		}
	}
	if e := elems["publish"]; e != nil {
		s.Off = strings.EqualFold(e.Value, "false")
		if !s.Off && !strings.EqualFold(e.Value, "true") {
			c.errorf(e.Pos, "found publish='%s', expected 'true' or 'false'", shorten(e.Value))
		}
	}
}
