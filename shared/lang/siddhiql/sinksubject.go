package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// Templates returns the templates of the subjects that results have, without those of streams
// whose results go to out.<app>.<Stream>.<p>.
func (p *Plan) Templates() (list []*subject.Template) {
	for _, s := range p.Published() {
		if s.Sink.Subject != nil {
			list = append(list, s.Sink.Subject)
		}
	}
	return list
}

// subject reads `subject` of a @sink.
func (sk *sinkChecker) subject(elems map[string]*AnnotationElem, s *Stream) {
	e := elems["subject"]
	if e == nil {
		return
	}
	t, err := subject.ParseTemplate(e.Value, sk.inboxes...)
	switch {
	case err != nil:
		sk.errorf(e.Pos, "%v", err)
		return
	case s.Sink.Off:
		sk.errorf(e.Pos, "results of stream %s have a subject, but publish='false' says that none are published: leave one of them out", tick(s.Name))
		return
	case s.Sink.Packed && t.Varies():
		sk.errorf(e.Pos, "pack='%s' puts many results into a message, but those of '%s' have several subjects: leave `pack` out, or the attributes", elems["pack"].Value, shorten(e.Value))
		return
	case sk.plan.Partitions > 1 && !t.HasPartition():
		sk.errorf(e.Pos, "the app has %d partitions, each with an output stream of its own, so their subjects must differ: expected the token `{%s}` in '%s'", sk.plan.Partitions, subject.PartitionName, shorten(e.Value))
		return
	}
	if t.HasPartition() && slices.ContainsFunc(s.Schema.Attrs, func(a event.Attr) bool { return a.Name == subject.PartitionName }) {
		sk.errorf(e.Pos, "`{%s}` in the subject is the number of the partition, and stream %s has an attribute of that name: expected another name of the attribute", subject.PartitionName, tick(s.Name))
		return
	}
	for _, token := range t.Tokens {
		attr := -1
		if name := token.Placeholder; name != "" && name != subject.PartitionName {
			attr = slices.IndexFunc(s.Schema.Attrs, func(a event.Attr) bool { return a.Name == name })
			switch {
			case attr < 0:
				sk.errorf(e.Pos, "unknown attribute %s of stream %s in the subject%s", tick(name), tick(s.Name), didYouMean(name, attrNames(s.Schema)))
				return
			case s.Schema.Attrs[attr].Type == event.Object || s.Schema.Attrs[attr].Holds() == event.Object:
				sk.errorf(e.Pos, "attribute %s of the subject is an object: expected a text, a number or a bool", tick(name))
				return
			}
		}
		s.Sink.Attrs = append(s.Sink.Attrs, attr)
	}
	s.Sink.Subject = t
	sk.subjectAt = append(sk.subjectAt, sinkSubject{s, e.Pos})
}

// sinkSubject is a stream with subjects of its own, and where the app says so.
type sinkSubject struct {
	stream *Stream
	pos    Pos
}

// overlaps refuses results that would be events of the app, and two streams whose results
// could have the same subject.
func (sk *sinkChecker) overlaps() {
	for i, one := range sk.subjectAt {
		mine := one.stream.Sink.Subject.Pattern("*")
		for _, s := range sk.plan.Streams {
			if s.Input() && s.Origin == nil && subject.Overlap(s.Subject, mine) {
				sk.errorf(one.pos, "results on '%s' would be events of stream %s, which reads `%s`, and feed the app without end: expected another subject", shorten(one.stream.Sink.Subject.Text), tick(s.Name), s.Subject)
			}
		}
		for _, other := range sk.subjectAt[:i] {
			if subject.Overlap(other.stream.Sink.Subject.Pattern("*"), mine) {
				sk.errorf(one.pos, "results of the streams %s and %s could have the same subject, by '%s' and '%s': expected a different word in one of them", tick(other.stream.Name), tick(one.stream.Name), shorten(other.stream.Sink.Subject.Text), shorten(one.stream.Sink.Subject.Text))
			}
		}
	}
}
