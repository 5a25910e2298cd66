package processor

import (
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// subjectsKept is how many subjects are kept, so that a result on one of them needs no memory
// for its own.
const subjectsKept = 4096

// subjects makes the subjects of the results of a stream (@sink(subject='…')).
type subjects struct {
	tokens []subject.Token
	attrs  []int // by token
	number string
	kept   map[string]string
	text   []byte // scratch
	value  []byte
}

func newSubjects(s *siddhiql.Stream, partition uint32) *subjects {
	return &subjects{
		tokens: s.Sink.Subject.Tokens, attrs: s.Sink.Attrs,
		number: strconv.FormatUint(uint64(partition), 10), kept: map[string]string{},
	}
}

// of returns the subject of row i of b. b is nil if no attribute is part of the subject.
func (s *subjects) of(b *event.Batch, i int) string {
	s.text = s.text[:0]
	for n, token := range s.tokens {
		if n > 0 {
			s.text = append(s.text, '.')
		}
		switch attr := s.attrs[n]; {
		case attr >= 0 && b.Cols[attr].IsNull(i):
			s.text = subject.AppendNull(s.text)
		case attr >= 0:
			s.value = rowjson.AppendText(s.value[:0], &b.Cols[attr], i)
			s.text = subject.AppendToken(s.text, s.value)
		case token.Placeholder == subject.PartitionName:
			s.text = append(s.text, s.number...)
		default:
			s.text = append(s.text, token.Word...)
		}
	}
	if known, ok := s.kept[string(s.text)]; ok {
		return known
	}
	if len(s.kept) == subjectsKept {
		clear(s.kept)
	}
	made := string(s.text)
	s.kept[made] = made
	return made
}
