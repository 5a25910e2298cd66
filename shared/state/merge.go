package state

import "bytes"

// Merge returns base with the deltas applied, oldest first; the newest wins. All are sorted
// by key, each key once, and so is the result. It shares the bytes of its arguments, and
// changes none of them.
func Merge(base []Entry, deltas ...[]Change) []Entry {
	changes := mergeChanges(deltas)
	if len(changes) == 0 {
		return base
	}
	merged := make([]Entry, 0, len(base)+len(changes))
	for _, c := range changes {
		n := 0
		for n < len(base) && bytes.Compare(base[n].Key, c.Key) < 0 {
			n++
		}
		merged = append(merged, base[:n]...)
		base = base[n:]
		if len(base) > 0 && bytes.Equal(base[0].Key, c.Key) {
			base = base[1:]
		}
		if !c.Deleted {
			merged = append(merged, Entry{c.Key, c.Value})
		}
	}
	return append(merged, base...)
}

// MergeChanges returns deltas as one, with the order and ownership of Merge. Deleted keys
// stay, because an older base may have them.
func MergeChanges(deltas ...[]Change) []Change { return mergeChanges(deltas) }

func mergeChanges(lists [][]Change) []Change {
	if len(lists) == 1 {
		return lists[0]
	}
	heads := make(changeHeap, 0, len(lists))
	total := 0
	for age, list := range lists {
		if len(list) > 0 {
			heads = append(heads, changeHead{list, age})
			total += len(list)
		}
	}
	for i := len(heads)/2 - 1; i >= 0; i-- {
		heads.down(i)
	}
	merged := make([]Change, 0, total)
	for len(heads) > 0 {
		c := heads[0].list[0]
		// Of equal keys the newest comes first.
		if n := len(merged); n == 0 || !bytes.Equal(merged[n-1].Key, c.Key) {
			merged = append(merged, c)
		}
		heads.next()
	}
	return merged
}

// changeHead is the rest of a list; age is larger the newer it is.
type changeHead struct {
	list []Change
	age  int
}

// changeHeap has the list with the smallest key first, the newest of those.
type changeHeap []changeHead

func (h changeHeap) less(i, j int) bool {
	order := bytes.Compare(h[i].list[0].Key, h[j].list[0].Key)
	return order < 0 || order == 0 && h[i].age > h[j].age
}

// next drops the first change of the first list.
func (h *changeHeap) next() {
	heads := *h
	if heads[0].list = heads[0].list[1:]; len(heads[0].list) == 0 {
		heads[0] = heads[len(heads)-1]
		*h = heads[:len(heads)-1]
	}
	h.down(0)
}

func (h changeHeap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
