package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// Rescaling divides the state of an app among another number of partitions. The state of keys
// goes where their events go; entries stay as they are, and are passed one by one, so that
// memory does not depend on their number. All clocks must be equal, and nothing may follow in
// the logs.
type Rescaling struct {
	plan     *siddhiql.Plan // of the next version, with To partitions
	from, to uint32
	version  uint32 // the next version
	ranks    map[string][]uint64
}

// NewRescaling returns the rescaling of an app that has from partitions, to the number that
// the plan of its next version has.
func NewRescaling(next *siddhiql.Plan, from, version uint32) (*Rescaling, error) {
	if from == 0 || next.Partitions < 1 {
		return nil, fmt.Errorf("engine: rescale app %q from %d to %d partitions", next.Name, from, next.Partitions)
	}
	return &Rescaling{plan: next, from: from, to: uint32(next.Partitions), version: version, ranks: map[string][]uint64{}}, nil
}

// To returns the number of partitions after it.
func (r *Rescaling) To() uint32 { return r.to }

// Whole reports whether a component is converted as a whole, by Convert. Each entry of the
// others belongs to a key, and Place places it.
func (r *Rescaling) Whole(typ string) bool {
	return typ == "clock" || typ == "reorder" || BoundToLog(typ)
}

// Copied reports whether all partitions get a component from one partition, as NewestTable
// chooses it: each partition has all rows of a table that a KV bucket fills.
func (r *Rescaling) Copied(typ string) bool { return typ == "table" || typ == tableBucketType }

// FollowsBucket reports whether a component says how far a table follows its KV bucket, and
// returns the prefix of the ids of the table's components.
func FollowsBucket(id, typ string) (table string, ok bool) {
	return strings.TrimSuffix(id, "/bucket"), typ == tableBucketType
}

// NewestTable returns the partition whose table is newest, from how far each of them follows the
// KV bucket. Ingest loads the table again when it has the new number of partitions, and a table
// never goes back.
func (r *Rescaling) NewestTable(entries [][]state.Entry) (partition int, err error) {
	var newest bucketTable
	for p, list := range entries {
		var one bucketTable
		if err := readOnly(list, "bucket", one.fields); err != nil {
			return 0, fmt.Errorf("partition %d: %w", p, err)
		}
		if p == 0 || cmp.Or(cmp.Compare(one.created, newest.created), cmp.Compare(one.revision, newest.revision), cmp.Compare(one.loaded, newest.loaded)) > 0 {
			partition, newest = p, one
		}
	}
	return partition, nil
}

// Place returns the partition that an entry goes to, and its value there. Entries of a
// component come in the order of their keys; partition is the one that the entry is in.
func (r *Rescaling) Place(id, typ string, partition uint32, e state.Entry) (to uint32, value []byte, err error) {
	key, value := string(e.Key), e.Value
	if typ != "partition/keys" {
		size, n := binary.Uvarint(e.Key)
		if n <= 0 || size > uint64(len(e.Key)-n) {
			return 0, nil, fmt.Errorf("component %s: entry %.40q does not start with a partition key", id, e.Key)
		}
		key = string(e.Key[n : n+int(size)])
	}
	if home := Home(key, r.from); home != partition {
		return 0, nil, fmt.Errorf("component %s: partition %d has state of key %.40q, which belongs to partition %d of %d", id, partition, key, home, r.from)
	}
	to = Home(key, r.to)
	if typ != "partition/keys" || r.from == 1 {
		return to, value, nil
	}
	// Places of several partitions are not unique. Keys get places in the order of their texts.
	ranks := r.ranks[id]
	if ranks == nil {
		ranks = make([]uint64, r.to)
		r.ranks[id] = ranks
	}
	_, n := binary.Uvarint(e.Value)
	if n <= 0 {
		return 0, nil, fmt.Errorf("component %s: partition key %.40q has no place", id, key)
	}
	value = binary.AppendUvarint(nil, ranks[to])
	ranks[to]++
	return to, append(value, e.Value[n:]...), nil
}

// Convert converts a component as a whole: entries has those of each partition, in the order
// of their keys. The result has those of each partition afterwards.
func (r *Rescaling) Convert(id, typ string, entries [][]state.Entry) (to [][]state.Entry, err error) {
	to = make([][]state.Entry, r.to)
	switch typ {
	case "clock":
		err = r.clock(entries, to)
	case "reorder":
		err = r.reorder(entries, to)
	case "log/stamp":
		err = r.stamp(entries, to)
	case "log/version":
		err = r.versions(entries, to)
	case "log/writers": // new logs have no writers yet, and the kept ones get new ones
	case "log/ids":
		err = r.ids(entries, to)
	case "log/links":
		err = r.links(entries, to)
	default:
		err = fmt.Errorf("no rule for components of type %s", typ)
	}
	if err != nil {
		return nil, fmt.Errorf("component %s: %w", id, err)
	}
	return to, nil
}

// clockState is the state of the component clock.
type clockState struct {
	now                     int64
	dropped, timers, chunks uint64
}

func (c *clockState) fields(f *window.Fields) {
	f.Int(&c.now)
	f.Uint(&c.dropped)
	f.Uint(&c.timers)
	f.Uint(&c.chunks)
}

// clock gives all partitions the clock of all, and unused numbers. The rows that
// were dropped are counted in the first one.
func (r *Rescaling) clock(entries, to [][]state.Entry) error {
	var all clockState
	for p, list := range entries {
		var one clockState
		if err := readOnly(list, "clock", one.fields); err != nil {
			return err
		}
		if p > 0 && one.now != all.now {
			return fmt.Errorf("the clock of partition %d is at %d ms, and the one of partition 0 at %d", p, one.now, all.now)
		}
		all.now, all.dropped = one.now, all.dropped+one.dropped
		all.timers, all.chunks = max(all.timers, one.timers), max(all.chunks, one.chunks)
	}
	for p := range to {
		to[p] = []state.Entry{{Key: []byte("clock"), Value: window.WriteFields(nil, all.fields)}}
		all.dropped = 0
	}
	return nil
}

// readOnly reads the one entry of a component of fields.
func readOnly(list []state.Entry, name string, fields func(*window.Fields)) error {
	if len(list) != 1 || string(list[0].Key) != name {
		return fmt.Errorf("%d entries, expected one: %s", len(list), name)
	}
	return window.ReadFields(list[0].Value, fields)
}

func (r *Rescaling) stamp(entries, to [][]state.Entry) error {
	var largest int64
	for p, list := range entries {
		var one int64
		if err := readOnly(list, "stamp", func(f *window.Fields) { f.Int(&one) }); err != nil {
			return err
		}
		if p == 0 || one > largest {
			largest = one
		}
	}
	for p := range to {
		to[p] = []state.Entry{{Key: []byte("stamp"), Value: window.WriteFields(nil, func(f *window.Fields) { f.Int(&largest) })}}
	}
	return nil
}

// versions puts the next version in force.
func (r *Rescaling) versions(entries, to [][]state.Entry) error {
	for p, list := range entries[1:] {
		if !slices.EqualFunc(list, entries[0], sameEntry) {
			return fmt.Errorf("partitions 0 and %d have different versions in force", p+1)
		}
	}
	list := slices.Clone(entries[0])
	list = slices.DeleteFunc(list, func(e state.Entry) bool { return string(e.Key) == keyKept })
	i := slices.IndexFunc(list, func(e state.Entry) bool { return string(e.Key) == "version" })
	if i < 0 {
		return fmt.Errorf("no version is in force")
	}
	var v inForce
	fields := func(f *window.Fields) {
		f.Uint(&v.number)
		f.Uint(&v.level)
		f.Int(&v.stamp)
	}
	if err := window.ReadFields(list[i].Value, fields); err != nil {
		return err
	}
	if uint64(r.version) <= v.number {
		return fmt.Errorf("version %d is in force, and the next is %d", v.number, r.version)
	}
	v.number = uint64(r.version)
	list[i].Value = window.WriteFields(nil, fields)
	for p := range to {
		to[p] = list
	}
	return nil
}

func sameEntry(a, b state.Entry) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
}

// reorder divides the events that wait by their keys. Those of a chunk stay together, as far as
// they go to one partition.
func (r *Rescaling) reorder(entries, to [][]state.Entry) error {
	e := &Engine{plan: r.plan}
	streams := e.waitingStreams()
	next := make([]*window.Reorder, r.to)
	for p := range next {
		next[p] = window.NewReorder(streams)
	}
	clock := int64(window.NoTime)
	for _, list := range entries {
		old := window.NewReorder(streams)
		if err := moveEntries(list, old); err != nil {
			return err
		}
		clock = max(clock, old.Clock())
		if input, ok := old.Input(); ok {
			for _, n := range next {
				n.Come(input)
			}
		}
		if err := r.divide(old, next); err != nil {
			return err
		}
	}
	for p, n := range next {
		n.Passed(clock)
		to[p] = entriesOf(n)
	}
	return nil
}

// divide passes the events that wait in old on to next.
func (r *Rescaling) divide(old *window.Reorder, next []*window.Reorder) error {
	keys := map[int]keyFunc{}
	for {
		if _, ok := old.Next(); !ok {
			return nil
		}
		stream, b, from, end := old.Take()
		key, known := keys[stream]
		if !known {
			key = keyOf(r.plan, r.plan.Streams[stream])
			keys[stream] = key
		}
		parts := make([]*event.Batch, len(next))
		for row := from; row < end; row++ {
			p := homeOf(key, b, row, r.to)
			if parts[p] == nil {
				parts[p] = event.NewBatch(b.Schema)
			}
			parts[p].AppendRow(b, row)
		}
		for p, rows := range parts {
			if rows == nil {
				continue
			}
			at := window.Latest(rows, 0, rows.Len())
			if at <= old.Clock() {
				return fmt.Errorf("a chunk of stream %s waits for its last event, and other events of it, whose time has come, would go to another partition; scale the app again when the chunk has been applied", b.Schema.Name)
			}
			next[p].Add(stream, rows, 0, rows.Len(), at)
		}
	}
}

// ids keeps the ids of each former partition apart.
func (r *Rescaling) ids(entries, to [][]state.Entry) error {
	for p, list := range entries {
		for _, e := range list {
			switch {
			case len(e.Key) == 9 && e.Key[0] == keyDedupBlock:
				o := formerHome{r.version, r.from, uint32(p)}
				r.inherit(o, formerKey(o, binary.BigEndian.Uint64(e.Key[1:])), e.Value, to)
			case len(e.Key) > 0 && e.Key[0] == keyFormerIDs:
				if err := r.inheritAgain(e, to); err != nil {
					return err
				}
			case len(e.Key) != 1 || e.Key[0] != keyDedupFields:
				return fmt.Errorf("unknown key %q", e.Key)
			}
		}
	}
	return unite(to)
}

// links keeps the places of each former partition apart.
func (r *Rescaling) links(entries, to [][]state.Entry) error {
	for p, list := range entries {
		for _, e := range list {
			if len(e.Key) > 0 && e.Key[0] == keyFormerPlaces {
				if err := r.inheritAgain(e, to); err != nil {
					return err
				}
				continue
			}
			o := formerHome{r.version, r.from, uint32(p)}
			r.inherit(o, formerPlaceKey(o, string(e.Key)), e.Value, to)
		}
	}
	return unite(to)
}

// inherit gives an entry of a former partition to all that may have some of its keys.
func (r *Rescaling) inherit(o formerHome, key, value []byte, to [][]state.Entry) {
	for p := range to {
		if o.shares(uint32(p), r.to) {
			to[p] = append(to[p], state.Entry{Key: key, Value: value})
		}
	}
}

// inheritAgain passes on what a partition has from an earlier scaling.
func (r *Rescaling) inheritAgain(e state.Entry, to [][]state.Entry) error {
	o, _, err := readFormerHome(e.Key[1:])
	if err != nil {
		return err
	}
	r.inherit(o, e.Key, e.Value, to)
	return nil
}

// unite sorts the entries of each partition. What several partitions had from earlier scalings
// is the same in all of them.
func unite(to [][]state.Entry) error {
	for p := range to {
		slices.SortStableFunc(to[p], func(a, b state.Entry) int { return bytes.Compare(a.Key, b.Key) })
		for i := 1; i < len(to[p]); i++ {
			if a, b := to[p][i-1], to[p][i]; bytes.Equal(a.Key, b.Key) && !bytes.Equal(a.Value, b.Value) {
				return fmt.Errorf("two partitions have different entries under key %q", a.Key)
			}
		}
		to[p] = slices.CompactFunc(to[p], sameEntry)
	}
	return nil
}
