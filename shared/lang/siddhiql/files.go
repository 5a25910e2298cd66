package siddhiql

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
)

// appFile is the annotation that holds a file which a @map names.
const appFile = "app:file"

// readFiles reads @app:file(name='a.avsc', text='…') and @app:file(name='a.desc', base64='…').
func (mp *mappingChecker) readFiles(list []*Annotation) {
	for _, a := range list {
		if !is(a, appFile) {
			continue
		}
		elems, good := mp.elems(a, annotations[appFile].keys...)
		if !good {
			continue
		}
		name, text, coded := elems["name"], elems["text"], elems["base64"]
		if name == nil || name.Value == "" || (text == nil) == (coded == nil) {
			mp.errorf(a.Pos, "`@app:file` holds a file: write `@app:file(name='…', text='…')` or `@app:file(name='…', base64='…')`")
			continue
		}
		if _, twice := mp.files[name.Value]; twice {
			mp.errorf(name.Pos, "the file '%s' stands twice", shorten(name.Value))
			continue
		}
		f := &embedded{at: name.Pos}
		mp.files[name.Value] = f
		if text != nil {
			f.data = []byte(text.Value)
			continue
		}
		data, err := base64.StdEncoding.DecodeString(coded.Value)
		if err != nil {
			mp.errorf(coded.Pos, "file '%s' is not base64: %v", shorten(name.Value), err)
		}
		f.data = data
	}
}

// embedded is a file inside the app.
type embedded struct {
	at   Pos
	data []byte
	used bool
}

// file returns the content of a file that e names.
func (mp *mappingChecker) file(e *AnnotationElem) (data []byte, ok bool) {
	f := mp.files[e.Value]
	if f == nil {
		mp.errorf(e.Pos, "the app does not contain the file '%s': deploy it with `eventflux`, which adds the file, or write `@app:file(name='%s', …)`", shorten(e.Value), shorten(e.Value))
		return nil, false
	}
	f.used = true
	return f.data, true
}

// unusedFiles refuses files that no @map names.
func (mp *mappingChecker) unusedFiles() {
	for name, f := range mp.files {
		if !f.used {
			mp.deployf(f.at, "no `@map` names the file '%s': leave `@app:file` out", shorten(name))
		}
	}
}

// Embed returns an app's text with the files that its @map annotations name, each in an
// @app:file after the text. What stands in the text already stays, so that positions in it do
// not change. read returns the content of a file. The error is an ErrorList; a text that
// cannot be parsed is returned unchanged, and Compile says why.
func Embed(text string, read func(name string) ([]byte, error)) (string, error) {
	app, err := Parse(text)
	if err != nil {
		return text, nil //nolint:nilerr // Compile reports it
	}
	r := &report{}
	have := map[string]bool{}
	for _, a := range app.Annotations {
		for _, e := range a.Elems {
			if is(a, appFile) && strings.EqualFold(e.Key, "name") {
				have[e.Value] = true
			}
		}
	}
	var added strings.Builder
	for _, e := range namedFiles(app) {
		if have[e.Value] {
			continue
		}
		have[e.Value] = true
		data, err := read(e.Value)
		if err != nil {
			r.errorf(e.Pos, "file '%s': %v", shorten(e.Value), err)
			continue
		}
		if strings.EqualFold(e.Key, "descriptor") {
			data = rowproto.Compact(data)
		}
		fmt.Fprintf(&added, "@app:file(name='%s', %s)\n", e.Value, quoteFile(data))
	}
	if added.Len() == 0 || r.err() != nil {
		return text, r.err()
	}
	out := strings.TrimRight(text, " \t\r\n") + "\n" // a comment may end the text
	if _, err := Parse(out + added.String()); err != nil {
		out += ";\n" // the last statement has none
	}
	out += added.String()
	if len(out) > textBytesMax {
		r.errorf(Pos{1, 1}, "with its files, the app has %d bytes: expected at most %d; for a descriptor set, leave out files that the message does not need", len(out), textBytesMax)
	}
	return out, r.err()
}

// quoteFile returns the content of a file as text if it can, or in base64.
func quoteFile(data []byte) string {
	text := strings.TrimRight(string(data), "\r\n ")
	if utf8.ValidString(text) && !strings.Contains(text, `"""`) && !strings.HasSuffix(text, `"`) && !strings.ContainsFunc(text, control) {
		return `text="""` + text + `"""`
	}
	return "base64='" + base64.StdEncoding.EncodeToString(data) + "'"
}

// control reports whether r is a character that a file of text does not have.
func control(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }

// namedFiles returns where the maps of an app name files.
func namedFiles(app *App) (list []*AnnotationElem) {
	var all []*Annotation
	for _, s := range app.Streams {
		all = append(all, s.Annotations...)
	}
	for _, e := range app.Elements {
		switch e := e.(type) {
		case *QueryDef:
			all = append(all, e.Annotations...)
		case *PartitionDef:
			all = append(all, e.Annotations...)
		}
	}
	for _, q := range queriesOf(app) {
		all = append(all, q.Annotations...)
	}
	for _, a := range all {
		for _, inner := range a.Elems {
			if m := inner.Nested; m != nil && is(m, "map") {
				list = append(list, fileOf(m)...)
			}
		}
	}
	return slices.DeleteFunc(list, func(e *AnnotationElem) bool { return strings.ContainsAny(e.Value, "'\"\n\r") })
}

// fileOf returns where a @map names a file.
func fileOf(m *Annotation) (list []*AnnotationElem) {
	kind := typeOfMap(m)
	for _, e := range m.Elems {
		switch {
		case e.Nested != nil || e.Value == "":
		case kind == mapProto && strings.EqualFold(e.Key, "descriptor"), kind == mapAvro && strings.EqualFold(e.Key, "schema") && !inlineSchema(e.Value):
			list = append(list, e)
		}
	}
	return list
}
