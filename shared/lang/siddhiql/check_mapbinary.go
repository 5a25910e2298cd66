package siddhiql

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowavro"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
)

// Settings of @map inside @source and @sink.
var (
	protoKeys = []string{"type", "descriptor", "message"}
	avroKeys  = []string{"type", "schema", "encoding"}
)

// otherBinaryKeys are settings of Siddhi's maps, and of JSON, with what to do instead.
var otherBinaryKeys = map[string]string{
	"class":                     "a message is found by its name: write `descriptor='file.desc', message='package.Message'`",
	"schema.def":                "it is called `schema` here",
	"schema.registry":           "there is no registry: write `schema='file.avsc'`, which becomes part of the app",
	"schema.id":                 "there is no registry: write `schema='file.avsc'`, which becomes part of the app",
	"use.avro.deserializer":     "leave it out",
	"fail.on.missing.attribute": "a field that is not set is null, or has its default: leave it out",
	"fail.on.unknown.attribute": "unknown fields are skipped: leave it out",
	"strict":                    "unknown fields are skipped: leave it out",
}

// binaryElems is elems for a @map of type protobuf or avro.
func (mp *mappingChecker) binaryElems(a *Annotation, allowed []string) (elems map[string]*AnnotationElem, ok bool) {
	ok = true
	for _, e := range a.Elems {
		if hint := otherBinaryKeys[strings.ToLower(e.Key)]; hint != "" && e.Nested == nil {
			mp.errorf(e.Pos, "unknown key %s of `@map`: %s", tick(e.Key), hint)
			ok = false
		}
	}
	if !ok {
		return nil, false
	}
	return mp.elems(a, allowed...)
}

// protoMapping reads @map(type='protobuf', descriptor='file.desc', message='pkg.Msg',
// @attributes(a='x.y')) of a source.
func (mp *mappingChecker) protoMapping(a, attributes *Annotation, s *Stream) *rowproto.Mapping {
	m, out := mp.protoMessage(a)
	if m == nil {
		return nil
	}
	out.Attrs = mp.binaryPaths(a, attributes, s, func(p rowjson.Path, t event.Type) error {
		_, err := rowproto.Resolve(m, p, t)
		return protoField(err)
	})
	return out
}

// protoMessage reads which message a @map names; nil after an error.
func (mp *mappingChecker) protoMessage(a *Annotation) (protoreflect.MessageDescriptor, *rowproto.Mapping) {
	elems, good := mp.binaryElems(a, protoKeys)
	if !good {
		return nil, nil
	}
	file, message := elems["descriptor"], elems["message"]
	if file == nil || message == nil {
		mp.errorf(a.Pos, "`@map` of type protobuf needs a descriptor set and a message: write `@map(type='protobuf', descriptor='file.desc', message='package.Message')`")
		return nil, nil
	}
	data, ok := mp.file(file)
	if !ok {
		return nil, nil
	}
	files, err := rowproto.ReadFiles(data)
	if err != nil {
		mp.errorf(file.Pos, "file '%s': %v", shorten(file.Value), err)
		return nil, nil
	}
	m := files.Message(message.Value)
	if m == nil {
		mp.errorf(message.Pos, "file '%s' has no message %s%s", shorten(file.Value), tick(message.Value), didYouMean(message.Value, files.Messages()))
		return nil, nil
	}
	return m, &rowproto.Mapping{Descriptors: string(data), Message: message.Value}
}

// avroMapping reads @map(type='avro', schema='file.avsc', encoding='single-object',
// @attributes(a='x.y')) of a source.
func (mp *mappingChecker) avroMapping(a, attributes *Annotation, s *Stream) *rowavro.Mapping {
	schema, out := mp.avroSchema(a)
	if schema == nil {
		return nil
	}
	out.Attrs = mp.binaryPaths(a, attributes, s, func(p rowjson.Path, t event.Type) error {
		return avroField(schema.Resolve(p, t))
	})
	return out
}

// avroSchema reads which schema a @map names; nil after an error.
func (mp *mappingChecker) avroSchema(a *Annotation) (*rowavro.Schema, *rowavro.Mapping) {
	elems, good := mp.binaryElems(a, avroKeys)
	if !good {
		return nil, nil
	}
	at := elems["schema"]
	if at == nil {
		mp.errorf(a.Pos, "`@map` of type avro needs a schema: write `@map(type='avro', schema='file.avsc')`")
		return nil, nil
	}
	out := &rowavro.Mapping{Schema: at.Value}
	if !inlineSchema(at.Value) {
		data, ok := mp.file(at)
		if !ok {
			return nil, nil
		}
		out.Schema = string(data)
	}
	if e := elems["encoding"]; e != nil {
		out.SingleObject = strings.EqualFold(e.Value, "single-object")
		if !out.SingleObject && !strings.EqualFold(e.Value, "binary") {
			mp.errorf(e.Pos, "found encoding='%s', expected 'binary' or 'single-object'", shorten(e.Value))
		}
	}
	schema, err := rowavro.ReadSchema(out.Schema)
	if err != nil {
		mp.errorf(at.Pos, "schema '%s': %v", shorten(at.Value), err)
		return nil, nil
	}
	return schema, out
}

// inlineSchema reports whether text is a schema itself, rather than the name of a file.
func inlineSchema(text string) bool {
	text = strings.TrimSpace(text)
	return text != "" && strings.ContainsRune(`{["`, rune(text[0]))
}

// binaryPaths reads the paths of all attributes of a source, and checks each with resolve.
func (mp *mappingChecker) binaryPaths(a, attributes *Annotation, s *Stream, resolve func(rowjson.Path, event.Type) error) []rowjson.Path {
	paths, at := mp.attributeFields(a, attributes, s)
	if paths == nil {
		return nil
	}
	for i, attr := range s.Schema.Attrs {
		if attr.Type == event.Object {
			continue // attributeFields has reported it
		}
		if err := resolve(paths[i], attr.Type); err != nil {
			mp.errorf(at[i], "attribute %s: %v", tick(attr.Name), err)
		}
	}
	return slices.Clip(paths)
}

// attributeFields reads the paths of all attributes, and where the app has each. An attribute
// that @attributes does not name is the field of its name.
func (mp *mappingChecker) attributeFields(a, attributes *Annotation, s *Stream) (paths []rowjson.Path, at []Pos) {
	paths, at = make([]rowjson.Path, len(s.Schema.Attrs)), make([]Pos, len(s.Schema.Attrs))
	for i, attr := range s.Schema.Attrs {
		paths[i], at[i] = rowjson.Path{{Member: attr.Name}}, a.Pos
	}
	if attributes != nil {
		wrong := len(mp.errs)
		seen := mp.attributes(attributes, s, "path", "x.y", func(i int, e *AnnotationElem) { paths[i], at[i] = mp.jsonPath(e), e.Pos })
		if seen == nil || len(mp.errs) > wrong {
			return nil, nil
		}
	}
	for i, attr := range s.Schema.Attrs {
		if attr.Holds() == event.Object {
			mp.errorf(at[i], "attribute %s of stream %s is an object, which only JSON has: expected a number, a bool or a string", tick(attr.Name), tick(s.Name))
		}
	}
	return paths, at
}
