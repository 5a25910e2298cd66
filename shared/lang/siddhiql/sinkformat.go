package siddhiql

import (
	"errors"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowavro"
	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
)

// Format says how results are written, if not as JSON: @sink(@map(type='protobuf', …)).
type Format struct {
	// Name is the type of the @map.
	Name string
	// ContentType is the header of the messages. It tells formats apart.
	ContentType string
	Writer      RowWriter

	proto *rowproto.Mapping // one of the two
	avro  *rowavro.Mapping
}

// RowWriter writes rows as messages. It keeps nothing between calls.
type RowWriter interface {
	Append(dst []byte, b *event.Batch, i int) []byte
}

// FormatName returns how a stream's results are written.
func (s *Sink) FormatName() string {
	if s.Format == nil {
		return mapJSON
	}
	return s.Format.Name
}

// ContentType returns the header of the messages; "" for JSON.
func (s *Sink) ContentType() string {
	if s.Format == nil {
		return ""
	}
	return s.Format.ContentType
}

// ReadsContentType returns the header of the results that the @map of a stream reads; "" for
// JSON.
func (s *Stream) ReadsContentType() string {
	switch {
	case s.Proto != nil:
		return s.Proto.ContentType()
	case s.Avro != nil:
		return s.Avro.ContentType()
	}
	return ""
}

// otherResultMaps says what to write in place of a type of @map that results do not have.
var otherResultMaps = map[string]string{
	mapCSV:  "publish JSON, and write CSV where you read the results",
	mapText: "join the text with `+` in an attribute, and read it from the JSON",
}

// resultMap reads a @map inside @sink.
func (mp *mappingChecker) resultMap(a *Annotation, s *Stream) {
	attributes, a := mp.nested(a, "attributes")
	switch kind := typeOfMap(a); kind {
	case mapProto, mapAvro:
		wrong := len(mp.errs)
		if s.Table != nil {
			mp.errorf(a.Pos, "the rows of table %s are published as JSON: leave `@map` out", tick(s.Name))
			return
		}
		if s.Sink.Packed {
			mp.errorf(a.Pos, "pack='ndjson' puts several rows into a message, and a message of type %s is one row: leave one of them out", kind)
		}
		if s.Sink.View != nil {
			mp.errorf(a.Pos, "the values of view %s are JSON, which it takes from the results: leave `@map` out, or insert the rows into a second stream that has it", tick(s.Sink.View.Bucket))
		}
		f := mp.resultFormat(kind, a, attributes, s)
		if len(mp.errs) == wrong {
			s.Sink.Format = f
		}
		return
	case mapCSV, mapText:
		mp.errorf(a.Pos, "results cannot be type='%s': expected 'json', 'protobuf' or 'avro'; %s", kind, otherResultMaps[kind])
		return
	}
	if attributes != nil {
		mp.errorf(a.Pos, "`@attributes` in a `@sink` needs type='protobuf' or 'avro': a result in JSON is an object with the attributes of the stream; select what it should have")
	}
	for _, e := range a.Elems {
		switch {
		case strings.EqualFold(e.Key, "type") && strings.EqualFold(e.Value, mapJSON):
		case strings.EqualFold(e.Key, "type"):
			mp.errorf(e.Pos, "found type='%s', expected 'json', 'protobuf' or 'avro'", shorten(e.Value))
		case e.Nested != nil:
			mp.errorf(e.Pos, "`@%s` is outside the language here: a result is a JSON object with the attributes of the stream; select what it should have", e.Nested.Name)
		default:
			mp.errorf(e.Pos, "unknown key %s of `@map` in `@sink`: a result is a JSON object with the attributes of the stream; expected type='json' alone", tick(e.Key))
		}
	}
}

// resultFormat returns the format of a @map of type protobuf or avro; nil after an error.
func (mp *mappingChecker) resultFormat(kind string, a, attributes *Annotation, s *Stream) *Format {
	if kind == mapProto {
		return mp.protoResults(a, attributes, s)
	}
	return mp.avroResults(a, attributes, s)
}

func (mp *mappingChecker) protoResults(a, attributes *Annotation, s *Stream) *Format {
	m, mapping := mp.protoMessage(a)
	if m == nil {
		return nil
	}
	paths, at := mp.attributeFields(a, attributes, s)
	if paths == nil || mp.catalog.outer[s.Name].broken {
		return nil
	}
	mapping.Attrs = paths
	nullable := mp.nullable(s)
	var target *rowproto.Target
	for _, rows := range mp.rowsInto(s) {
		var errs []rowproto.SinkError
		if target, errs = rowproto.NewTarget(m, rows, mapping, nullable); errs != nil {
			for _, e := range errs {
				mp.refuseField(at, a, s, e.Attr, protoField(e.Err))
			}
			return nil
		}
	}
	if target == nil {
		return nil // the queries are wrong
	}
	if len(target.Unmarked) > 0 {
		var names []string
		for _, i := range target.Unmarked {
			names = append(names, s.Schema.Attrs[i].Name)
		}
		mp.warnf(a.Pos, "if %s of stream %s is null, message %s has the field's default, zero or an empty text: declare the fields `optional` to tell nulls apart", listOf(names, "or"), tick(s.Name), mapping.Message)
	}
	return &Format{Name: mapProto, ContentType: mapping.ContentType(), Writer: target, proto: mapping}
}

func (mp *mappingChecker) avroResults(a, attributes *Annotation, s *Stream) *Format {
	schema, mapping := mp.avroSchema(a)
	if schema == nil {
		return nil
	}
	paths, at := mp.attributeFields(a, attributes, s)
	if paths == nil || mp.catalog.outer[s.Name].broken {
		return nil
	}
	mapping.Attrs = paths
	nullable := mp.nullable(s)
	var target *rowavro.Target
	for _, rows := range mp.rowsInto(s) {
		var errs []rowavro.SinkError
		if target, errs = rowavro.NewTarget(schema, rows, mapping, nullable); errs != nil {
			for _, e := range errs {
				mp.refuseField(at, a, s, e.Attr, avroField(e.Err))
			}
			return nil
		}
	}
	if target == nil {
		return nil // the queries are wrong
	}
	return &Format{Name: mapAvro, ContentType: mapping.ContentType(), Writer: target, avro: mapping}
}

// refuseField reports why an attribute, or the stream, does not fit.
func (mp *mappingChecker) refuseField(at []Pos, a *Annotation, s *Stream, attr int, err error) {
	if attr < 0 {
		mp.errorf(a.Pos, "stream %s: %v", tick(s.Name), err)
		return
	}
	mp.errorf(at[attr], "attribute %s: %v", tick(s.Schema.Attrs[attr].Name), err)
}

// rowsInto returns the shapes of the rows that queries insert into a stream.
func (mp *mappingChecker) rowsInto(s *Stream) (shapes []*event.Schema) {
	for _, q := range mp.plan.Queries {
		if q.Target == s && q.Output != nil {
			shapes = append(shapes, q.Output)
		}
	}
	return shapes
}

// nullable says which attributes of a stream may be null in the rows of a query.
func (mp *mappingChecker) nullable(s *Stream) []bool {
	may := make([]bool, len(s.Schema.Attrs))
	for _, q := range mp.plan.Queries {
		for i := range may {
			may[i] = may[i] || q.Target == s && (i >= len(q.Select) || !neverNull(q, q.Select[i]))
		}
	}
	return may
}

// neverNull reports whether an expression of select has a value in every row.
func neverNull(q *Query, e Expr) bool {
	switch e := e.(type) {
	case *Const, *Compare, *And, *Or, *Not, *IsNull:
		return true
	case *AggResult:
		name := strings.ToLower(q.Aggs[e.Index].Name)
		return name == "count" || name == "distinctcount"
	case *Call:
		switch strings.ToLower(e.Func) {
		case "default":
			return true
		case "cast":
			return neverNull(q, e.Args[0])
		case "coalesce":
			for _, arg := range e.Args {
				if neverNull(q, arg) {
					return true
				}
			}
		case "currenttimemillis":
			return true
		}
	}
	return false
}

// protoField and avroField name the likely field in place of one that does not exist.
func protoField(err error) error {
	var missing *rowproto.FieldError
	if errors.As(err, &missing) {
		return errors.New("message " + tick(missing.Message) + " has no field " + tick(missing.Field) + didYouMean(missing.Field, missing.Have))
	}
	return err
}

func avroField(err error) error {
	var missing *rowavro.FieldError
	if errors.As(err, &missing) {
		return errors.New("record " + tick(missing.Record) + " has no field " + tick(missing.Field) + didYouMean(missing.Field, missing.Have))
	}
	return err
}
