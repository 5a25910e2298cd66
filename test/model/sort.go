package model

import (
	"strings"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// sorted is the window sort, 5.8.
type sorted struct {
	*environment
	n    int64
	by   []sortKey
	rows []item // in order of arrival
}

type sortKey struct {
	attr       int
	descending bool
}

func newSort(p []window.Param, env *environment) *sorted {
	w := &sorted{environment: env, n: p[0].Int}
	for _, q := range p[1:] {
		if q.Constant() {
			w.by[len(w.by)-1].descending = strings.EqualFold(q.Text, "desc")
		} else {
			w.by = append(w.by, sortKey{attr: q.Attr})
		}
	}
	return w
}

func (w *sorted) add(chunk []item) [][]item {
	var out []item
	for _, x := range chunk {
		out = append(out, x)
		w.rows = append(w.rows, x)
		if int64(len(w.rows)) > w.n {
			worst := w.worst()
			out = append(out, w.rows[worst].as(expired, w.now()))
			w.rows = append(w.rows[:worst:worst], w.rows[worst+1:]...)
		}
	}
	return one(out)
}

func (w *sorted) fire(int64, int) [][]item { return nil }

// worst returns the last event in sort order; the newest among equals.
func (w *sorted) worst() int {
	worst := 0
	for i := range w.rows {
		if w.compare(w.rows[i], w.rows[worst]) >= 0 {
			worst = i
		}
	}
	return worst
}

// compare puts nulls last in both orders (correction 10).
func (w *sorted) compare(a, b item) int {
	for _, k := range w.by {
		if c := compareNullsLast(a.values[k.attr], b.values[k.attr], k.descending); c != 0 {
			return c
		}
	}
	return 0
}
