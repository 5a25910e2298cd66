package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// formerHome is a partition that an app had before it was scaled. A task takes over what the
// former partitions had seen, each by itself: a row is a repetition only if the former
// partition of its key had seen the message. The union of all would lose rows of a message
// that was written to some of the former logs and not to others.
type formerHome struct {
	scaling    uint32 // number of the app's version that scaled it
	partitions uint32 // that the app had before
	partition  uint32
}

const formerHomeBytes = 12

func (o formerHome) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, o.scaling)
	dst = binary.BigEndian.AppendUint32(dst, o.partitions)
	return binary.BigEndian.AppendUint32(dst, o.partition)
}

func readFormerHome(src []byte) (o formerHome, rest []byte, err error) {
	if len(src) < formerHomeBytes {
		return o, nil, fmt.Errorf("a former partition is cut off")
	}
	o = formerHome{binary.BigEndian.Uint32(src), binary.BigEndian.Uint32(src[4:]), binary.BigEndian.Uint32(src[8:])}
	if o.scaling == 0 || o.partition >= o.partitions {
		return o, nil, fmt.Errorf("partition %d of %d before scaling %d", o.partition, o.partitions, o.scaling)
	}
	return o, src[formerHomeBytes:], nil
}

// shares reports whether some keys may have been in the formerHome and may be in a partition now.
func (o formerHome) shares(partition, partitions uint32) bool {
	g := gcd(o.partitions, partitions)
	return o.partition%g == partition%g
}

// among adds the scaling of the former home to a list that has each once.
func (o formerHome) among(list []formerHome) []formerHome {
	o.partition = 0
	if slices.Contains(list, o) {
		return list
	}
	return append(list, o)
}

func gcd(a, b uint32) uint32 {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

// formerIDs are the message ids that former partitions had seen, in the blocks that they had.
// They go when the last of them has aged.
type formerIDs struct {
	scalings []formerHome                    // each once, with partition 0
	of       map[formerHome]map[string]int64 // id to when it arrived, ms
	blocks   map[string]string               // by key, as in the state
	newest   int64
	gone     []string // keys that were dropped since the last Changed
	bytes    int64
}

const keyFormerIDs = 'o'

func formerKey(o formerHome, number uint64) []byte {
	return binary.BigEndian.AppendUint64(o.append([]byte{keyFormerIDs}), number)
}

// seen reports whether a former partition had seen an id within the span before now.
func (f *formerIDs) seen(o formerHome, id string, now, span int64) bool {
	at, ok := f.of[o][id]
	return ok && at > now-span
}

// forget drops all ids once the last of them has aged.
func (f *formerIDs) forget(now, span int64) {
	if len(f.blocks) == 0 || f.newest > now-span {
		return
	}
	f.gone = f.keys()
	f.scalings, f.of, f.blocks, f.bytes, f.newest = nil, nil, nil, 0, 0
}

func (f *formerIDs) keys() []string {
	keys := make([]string, 0, len(f.blocks))
	for key := range f.blocks {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// put loads a block. The key has its first byte.
func (f *formerIDs) put(key, value []byte) error {
	o, rest, err := readFormerHome(key[1:])
	if err != nil || len(rest) != 8 {
		return fmt.Errorf("message ids: key %x of a former partition: %w", key, err)
	}
	block, err := readIDs(value, func(id []byte) string { return string(id) })
	if err != nil || len(block) == 0 {
		return fmt.Errorf("message ids: block %x of a former partition: %w", key, err)
	}
	if f.of == nil {
		f.of, f.blocks, f.newest = map[formerHome]map[string]int64{}, map[string]string{}, math.MinInt64
	}
	ids := f.of[o]
	if ids == nil {
		ids = map[string]int64{}
		f.of[o] = ids
		f.scalings = o.among(f.scalings)
	}
	const perID = 64
	for _, x := range block {
		ids[x.id] = x.at
		f.newest = max(f.newest, x.at)
		f.bytes += int64(len(x.id)) + perID
	}
	f.blocks[string(key)] = string(value)
	f.bytes += int64(len(value))
	return nil
}

// formerPlaces are the newest results that former partitions had applied, by subject. Those
// of a subject go when a later result than all of them was applied.
type formerPlaces struct {
	scalings []formerHome                              // each once, with partition 0
	of       map[string]map[formerHome]result.Position // by subject
	gone     [][]byte                                  // keys that were dropped since the last Changed
}

// keyFormerPlaces is the first byte of their keys: no subject starts with it.
const keyFormerPlaces = 0

func formerPlaceKey(o formerHome, subject string) []byte {
	return append(o.append([]byte{keyFormerPlaces}), subject...)
}

// seen reports whether a former partition had applied the result, or a later one.
func (f *formerPlaces) seen(o formerHome, subject string, at result.Position) bool {
	had, ok := f.of[subject][o]
	return ok && !at.After(had)
}

// forget drops the places of a subject if a result is later than all of them.
func (f *formerPlaces) forget(subject string, at result.Position) {
	places := f.of[subject]
	for _, had := range places {
		if !at.After(had) {
			return
		}
	}
	for o := range places {
		f.gone = append(f.gone, formerPlaceKey(o, subject))
	}
	delete(f.of, subject)
}

func (f *formerPlaces) put(key, value []byte) error {
	o, subject, err := readFormerHome(key[1:])
	if err != nil || len(subject) == 0 {
		return fmt.Errorf("links: key %x of a former partition: %w", key, err)
	}
	var at result.Position
	if err := window.ReadFields(value, func(f *window.Fields) { placeFields(f, &at) }); err != nil {
		return fmt.Errorf("links: former partition, subject %q: %w", subject, err)
	}
	if f.of == nil {
		f.of = map[string]map[formerHome]result.Position{}
	}
	if f.of[string(subject)] == nil {
		f.of[string(subject)] = map[formerHome]result.Position{}
	}
	f.of[string(subject)][o] = at
	f.scalings = o.among(f.scalings)
	return nil
}

func (f *formerPlaces) each(visit func(key []byte)) {
	for subject, places := range f.of {
		for o := range places {
			visit(formerPlaceKey(o, subject))
		}
	}
}

func (f *formerPlaces) append(dst, key []byte) ([]byte, bool) {
	o, subject, err := readFormerHome(key[1:])
	if err != nil {
		return dst, false
	}
	at, ok := f.of[string(subject)][o]
	if !ok {
		return dst, false
	}
	return window.WriteFields(dst, func(f *window.Fields) { placeFields(f, &at) }), true
}

// repeats reports which rows of a message the former partition of their key had seen. It
// returns nil if there are none.
func (t *Task) repeats(to *bound, id string, from, end int) (repeated []bool) {
	stream := to.stream.ID
	if stream < 0 {
		return nil
	}
	former, links := &t.ids[stream].former, t.links[stream]
	if len(former.of) == 0 && (links == nil || len(links.former.of) == 0) {
		return nil
	}
	var subject string
	var at result.Position
	linked := false
	if links != nil {
		subject, at, linked = result.ParseID(id)
	}
	scalings := former.scalings
	if linked {
		scalings = links.former.scalings
	}
	key := t.keyOf(to.stream)
	for _, o := range scalings {
		for row := from; row < end; row++ {
			rows, i := to.batch, row
			if to.from != nil {
				to.from.adapt(to.source, row, row+1)
				rows, i = to.from.rows, 0
			}
			o.partition = homeOf(key, rows, i, o.partitions)
			seen := !linked && former.seen(o, id, t.stamp, t.ids[stream].span) || linked && links.former.seen(o, subject, at)
			if seen && repeated == nil {
				repeated = make([]bool, end-from)
			}
			if seen {
				repeated[row-from] = true
			}
		}
	}
	if linked && repeated == nil {
		links.former.forget(subject, at)
	}
	return repeated
}
