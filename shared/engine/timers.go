package engine

// pending is a timer of a window. The heap holds at most one live timer of each
// state; one that the state no longer waits for is passed over when it comes up.
type pending struct {
	at    int64
	query int32
	seq   uint64
	state *state
}

// before orders timers by due time, then by the order of queries, then by the
// order in which they were asked for.
func (p *pending) before(o *pending) bool {
	switch {
	case p.at != o.at:
		return p.at < o.at
	case p.query != o.query:
		return p.query < o.query
	default:
		return p.seq < o.seq
	}
}

func (p *pending) live() bool {
	s := p.state
	return s.timed && s.due == p.at && s.seq == p.seq
}

// timerHeap is a binary heap. container/heap would box every timer.
type timerHeap []pending

func (h *timerHeap) push(p pending) {
	*h = append(*h, p)
	t := *h
	for i := len(t) - 1; i > 0; {
		up := (i - 1) / 2
		if !t[i].before(&t[up]) {
			break
		}
		t[i], t[up] = t[up], t[i]
		i = up
	}
}

func (h *timerHeap) pop() pending {
	t := *h
	top := t[0]
	n := len(t) - 1
	t[0], t[n] = t[n], pending{}
	*h = t[:n]
	t = *h
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if t[child].before(&t[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		t[i], t[least] = t[least], t[i]
		i = least
	}
}

// next returns the next live timer without taking it out, or nil.
func (h *timerHeap) next() *pending {
	for len(*h) > 0 {
		if (*h)[0].live() {
			return &(*h)[0]
		}
		h.pop()
	}
	return nil
}
