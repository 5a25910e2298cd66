package aggregate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// distinctTexts counts different texts; null is one of them.
type distinctTexts struct {
	// segments has the present texts by their hash, for each group that was once too large for
	// one segment. It has nothing for the other groups.
	segments[*textCount]
	texts []texts
}

// texts are the texts of one group. A text that has gone is kept for a while with a count
// of 0: many come back with the next row, and need not be stored again.
type texts struct {
	counts
	known map[string]*textCount
}

type textCount struct {
	text  string
	count int64
	hash  int64 // 0: not known yet
}

// goneMax is how many texts that have gone are kept, in addition to the number of present
// ones.
const goneMax = 64

// key returns the hash of the text. It spreads texts over segments. Publishers cannot choose
// many texts with similar hashes.
func (c *textCount) key() int64 {
	if c.hash == 0 {
		sum := sha256.Sum256([]byte(c.text))
		c.hash = int64(binary.LittleEndian.Uint64(sum[:]))
	}
	return c.hash
}

func (a *distinctTexts) group(slot int) *texts {
	a.texts, a.groups = grow(a.texts, slot), grow(a.groups, slot)
	return &a.texts[slot]
}

// spread reports whether the group's texts are in segments.
func (a *distinctTexts) spread(slot int) bool {
	group := a.groups[slot]
	return len(group) > 0 && len(group[0].items) > 0
}

func (a *distinctTexts) Add(slot int, args []Value) {
	g := a.group(slot)
	if args[0].Null {
		g.nulls++
		return
	}
	c := g.know(args[0].Text)
	c.count++
	if c.count == 1 {
		g.live++
	}
	switch {
	case a.spread(slot):
		a.changedText(slot, c)
	case g.live > segmentItemsMax:
		a.fill(slot, g.byHash())
	}
}

func (g *texts) know(text string) *textCount {
	c := g.known[text]
	if c == nil {
		if g.known == nil {
			g.known = map[string]*textCount{}
		}
		c = &textCount{text: strings.Clone(text)}
		g.known[c.text] = c
	}
	return c
}

// changedText updates the segments with the count of a text.
func (a *distinctTexts) changedText(slot int, c *textCount) {
	n, exists := find(a.groups[slot], c.key())
	if !exists {
		a.addSegment(slot, n, item[*textCount]{c.key(), c})
		return
	}
	items := a.groups[slot][n].items
	i, same := search(items, c.key())
	for same && items[i].value != c { // another text of the same hash
		i++
		same = i < len(items) && items[i].key == c.key()
	}
	switch {
	case same && c.count == 0:
		a.drop(slot, n, i)
	case same:
		a.touch(slot, n)
	default:
		a.put(slot, n, i, item[*textCount]{c.key(), c})
	}
}

// byHash returns the present texts.
func (g *texts) byHash() []item[*textCount] {
	items := make([]item[*textCount], 0, g.live)
	for _, c := range g.known {
		if c.count > 0 {
			items = append(items, item[*textCount]{c.key(), c})
		}
	}
	sortByKey(items)
	return items
}

func (a *distinctTexts) Remove(slot int, args []Value) {
	g := a.group(slot)
	if args[0].Null {
		g.nulls = max(0, g.nulls-1)
		return
	}
	c := g.known[args[0].Text]
	if c == nil || c.count == 0 {
		return
	}
	c.count--
	if a.spread(slot) {
		a.changedText(slot, c)
	}
	if c.count > 0 {
		return
	}
	g.live--
	if int64(len(g.known)) > 2*g.live+goneMax {
		maps.DeleteFunc(g.known, func(_ string, c *textCount) bool { return c.count == 0 })
	}
}

func (a *distinctTexts) Result(slot int, out *Value) { a.group(slot).result(out) }

func (a *distinctTexts) Clear(slot int) {
	g := a.group(slot)
	g.counts = counts{}
	clear(g.known)
	a.segments.Clear(slot)
}

// AppendState writes the number of nulls, the number of different texts, and each text in
// order with its count. Texts that have gone are not part of the state.
func (a *distinctTexts) AppendState(dst []byte, slot int) []byte {
	g := a.group(slot)
	if g.counts == (counts{}) {
		return dst
	}
	return appendTexts(binary.AppendUvarint(dst, uint64(g.nulls)), g.present())
}

func (g *texts) present() []*textCount {
	present := make([]*textCount, 0, g.live)
	for _, c := range g.known {
		if c.count > 0 {
			present = append(present, c)
		}
	}
	return present
}

// appendTexts sorts and writes texts.
func appendTexts(dst []byte, list []*textCount) []byte {
	slices.SortFunc(list, func(a, b *textCount) int { return strings.Compare(a.text, b.text) })
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, c := range list {
		dst = binary.AppendUvarint(dst, uint64(len(c.text)))
		dst = append(dst, c.text...)
		dst = binary.AppendUvarint(dst, uint64(c.count))
	}
	return dst
}

func (a *distinctTexts) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	nulls, list, err := readTexts(src, true)
	if err != nil {
		return err
	}
	g := a.group(slot)
	g.nulls = nulls
	if err := g.addAll(list); err != nil {
		return err
	}
	if g.live > segmentItemsMax {
		a.fill(slot, g.byHash())
	}
	return nil
}

// addAll adds loaded texts.
func (g *texts) addAll(list []*textCount) error {
	if g.known == nil {
		g.known = make(map[string]*textCount, len(list))
	}
	for _, c := range list {
		if g.known[c.text] != nil {
			return fmt.Errorf("state of distinctCount: text %q is there twice", c.text)
		}
		g.known[c.text] = c
	}
	g.live += int64(len(list))
	return nil
}

// readTexts reads a group or a segment of it. If the segment has no name, its nulls come first.
func readTexts(src []byte, nameless bool) (nulls int64, list []*textCount, err error) {
	r := readState(src)
	if nameless {
		if len(src) == 0 {
			return 0, nil, nil
		}
		nulls = r.nulls()
	}
	list = r.texts()
	if nulls == 0 && len(list) == 0 {
		r.Fail("0 nulls and 0 values")
	}
	return nulls, list, r.end("distinctCount")
}

func (r *stateBytes) texts() []*textCount {
	list := make([]*textCount, 0, r.Count(2))
	all := make([]textCount, cap(list))
	bytes, start := string(r.Unread()), r.Offset() // of all texts at once
	for i := range all {
		c := &all[i]
		n := r.Count(1)
		at := r.Offset() - start
		c.text = bytes[at : at+len(r.Bytes(n))]
		if i > 0 && !r.Failed() && c.text <= all[i-1].text {
			r.Fail("text %q follows %q", c.text, all[i-1].text)
		}
		if !utf8.ValidString(c.text) {
			r.Fail("text %q is no UTF-8", c.text)
		}
		c.count = r.count()
		if r.Failed() {
			return nil
		}
		list = append(list, c)
	}
	return list
}

// AppendSegment implements Segmented.
func (a *distinctTexts) AppendSegment(dst []byte, slot int, name []byte) ([]byte, bool) {
	g := a.group(slot)
	if len(name) > 0 {
		items := a.named(slot, name)
		if len(items) == 0 {
			return dst, false
		}
		return appendTexts(dst, countsOf(items)), true
	}
	list := countsOf(a.nameless(slot))
	if !a.spread(slot) {
		list = g.present()
	}
	if g.nulls == 0 && len(list) == 0 {
		return dst, true
	}
	return appendTexts(binary.AppendUvarint(dst, uint64(g.nulls)), list), true
}

func countsOf(items []item[*textCount]) []*textCount {
	list := make([]*textCount, len(items))
	for i, it := range items {
		list[i] = it.value
	}
	return list
}

// LoadSegment implements Segmented.
func (a *distinctTexts) LoadSegment(slot int, name, src []byte) error {
	nulls, list, err := readTexts(src, len(name) == 0)
	if err != nil {
		return err
	}
	g := a.group(slot)
	g.nulls += nulls
	if len(name) == 0 && len(list) <= segmentItemsMax {
		return g.addAll(list)
	}
	items := make([]item[*textCount], len(list))
	for i, c := range list {
		items[i] = item[*textCount]{c.key(), c}
	}
	sortByKey(items)
	if err := a.load(slot, name, items); err != nil {
		return fmt.Errorf("state of distinctCount: %w", err)
	}
	return g.addAll(list)
}

// CheckSegments implements Segmented.
func (a *distinctTexts) CheckSegments(slot int) error {
	if g := a.group(slot); a.spread(slot) && int64(a.has(slot)) != g.live {
		return fmt.Errorf("%d texts, and %d in segments with names", g.live, a.has(slot))
	}
	return a.segments.CheckSegments(slot)
}

// Empty implements Aggregate.
func (a *distinctTexts) Empty(slot int) bool {
	return a.group(slot).counts == (counts{})
}
