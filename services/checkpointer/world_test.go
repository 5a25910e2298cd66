package checkpointer

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// apply commits a command in Raft, and notes decisions.
func (w *world) apply(c *command) any {
	c.Version = thisVersion
	data, err := json.Marshal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.index++
	before := w.fsm.app("app")
	answer := w.fsm.Apply(&raft.Log{Index: w.index, Data: data})
	w.checkKept(c, before)
	if _, refused := answer.(refusal); refused {
		return answer
	}
	switch c.Kind {
	case kindCommit:
		w.decide(c.Commit.Epoch, "committed")
	case kindAbort:
		w.decide(c.Epoch, "aborted")
	}
	return answer
}

// digests returns those of the manifests that are retained, and of all that Raft
// refers to.
func digests(a *appState) (retained, all map[string]bool) {
	retained, all = map[string]bool{}, map[string]bool{}
	for _, k := range a.Committed {
		retained[k.Digest], all[k.Digest] = true, true
	}
	for _, k := range a.Kept {
		all[k.Digest] = true
	}
	return retained, all
}

// checkKept holds the state machine to what sweeps and tasks rely on: a manifest goes
// with the commit of an epoch that was opened when it was not retained any more, and
// never else.
func (w *world) checkKept(c *command, before *appState) {
	if before == nil {
		return
	}
	now := w.fsm.app("app")
	_, had := digests(before)
	retained, has := digests(now)
	for digest := range had {
		if has[digest] {
			continue
		}
		if c.Kind != kindCommit || now.Decided == before.Decided {
			w.t.Fatalf("a %s took manifest %s away", c.Kind, digest)
		}
		if w.retained[digest] {
			w.t.Fatalf("manifest %s was retained when epoch %d was opened, and its commit took it away", digest, now.Decided)
		}
	}
	if before.Open == nil && now.Open != nil {
		w.retained = retained
	}
	if !slices.IsSortedFunc(now.Committed, func(x, y committed) int { return int(x.Epoch) - int(y.Epoch) }) {
		w.t.Fatalf("checkpoints out of order: %+v", now.Committed)
	}
}

// retire lets retention forget one of the checkpoints but the newest.
func (w *world) retire() {
	if all := w.fsm.app("app").Committed; len(all) > 1 {
		w.apply(&command{Kind: kindRetire, App: "app", Epochs: []state.Epoch{all[rapid.IntRange(0, len(all)-2).Draw(w.t, "old")].Epoch}})
	}
}

// swap lets a merger replace a manifest: the one that is there, or one that was, or of
// a checkpoint that is not there.
func (w *world) swap() {
	epoch := w.anyEpoch()
	replaces := fmt.Sprint(epoch)
	if all := w.used[epoch]; len(all) > 0 {
		replaces = rapid.SampledFrom(all).Draw(w.t, "replaces")
	}
	with := fmt.Sprintf("%d by %d", epoch, w.index)
	if len(w.used[epoch]) > 0 && rapid.IntRange(0, 3).Draw(w.t, "again") == 0 {
		with = w.used[epoch][len(w.used[epoch])-1] // the answer was lost
	}
	at := func() *committed {
		for _, k := range w.fsm.app("app").Committed {
			if k.Epoch == epoch {
				return &k
			}
		}
		return nil
	}
	before := at()
	answer := w.apply(&command{
		Kind: kindSwap, App: "app", Replaces: replaces,
		Commit: &committed{CheckpointRef: control.CheckpointRef{Epoch: epoch, Digest: with}},
	})
	now := at()
	switch {
	case before == nil:
		if now != nil || refused(answer) == "" {
			w.t.Fatalf("epoch %d was not committed, and its manifest was replaced", epoch)
		}
	case before.Digest == with:
		if refused(answer) != "" || now.Digest != with {
			w.t.Fatalf("a swap that is repeated: %s", refused(answer))
		}
	case before.Digest == replaces:
		if refused(answer) != "" || now.Digest != with {
			w.t.Fatalf("epoch %d has %s: %s", epoch, now.Digest, refused(answer))
		}
		w.used[epoch] = append(w.used[epoch], with)
	default:
		if refused(answer) == "" || now.Digest != before.Digest {
			w.t.Fatalf("epoch %d had %s, and %s was replaced by %s", epoch, before.Digest, replaces, with)
		}
	}
}

func (w *world) decide(epoch state.Epoch, what string) {
	if before := w.decided[epoch]; before != "" && before != what {
		w.t.Fatalf("epoch %d is %s and %s", epoch, before, what)
	}
	w.decided[epoch] = what
}

// lead makes another leadership. What the one before wanted may still happen.
func (w *world) lead() {
	w.term++
	var effects []effect
	w.c, effects = newCoordinator(w.fsm.app("app"), checkpoint.Term(w.term), w.now, 10*time.Second, time.Minute)
	w.storeAt = w.term // the fence
	w.want(effects)
}

func (w *world) want(effects []effect) {
	for _, e := range effects {
		w.pending = append(w.pending, pendingEffect{e, w.c})
	}
}

func (w *world) tell(m message) {
	m.now = w.now
	w.want(w.c.step(m))
}

// kindsOfSteps is how often each happens.
var kindsOfSteps = []int{0, 1, 2, 3, 4, 4, 6, 7, 7, 7, 7, 8, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10}

// step lets something happen.
func (w *world) step() {
	switch rapid.SampledFrom(kindsOfSteps).Draw(w.t, "what") {
	case 8:
		w.swap()
	case 9:
		w.retire()
	case 10:
		w.advance()
	case 0:
		w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{1, 11, 11, 70}).Draw(w.t, "s")) * time.Second)
		w.tell(message{kind: msgTick})
	case 1:
		w.tell(message{kind: msgTrigger, answer: 1})
	case 2:
		if rapid.IntRange(0, 3).Draw(w.t, "really") == 0 {
			w.lead()
		}
	case 3:
		p := uint32(rapid.IntRange(0, 1).Draw(w.t, "p"))
		if rapid.IntRange(0, 3).Draw(w.t, "really") == 0 {
			number := w.apply(&command{Kind: kindAttach, App: "app", Owner: &control.Owner{Partition: p, Owner: fmt.Sprint(w.index)}})
			w.tell(message{kind: msgAttached, place: p, number: number.(uint64)})
		}
	case 4:
		w.prepare()
	case 6:
		w.tell(message{kind: msgFailed, epoch: w.anyEpoch(), answer: 3, reason: "a task has failed"})
	default:
		w.effect()
	}
}

// advance lets the next thing happen that a checkpoint needs, as it mostly does.
func (w *world) advance() {
	for i, e := range w.pending {
		if e.by == w.c {
			w.pending = slices.Delete(w.pending, i, i+1)
			if m, answered := w.act(e); answered {
				m.epoch = e.epoch
				w.tell(m)
			}
			return
		}
	}
	for p := range uint32(2) {
		if w.c.phase == collecting && w.c.parts[p] == nil {
			part := &checkpoint.Partition{Partition: p, Assignment: w.fsm.app("app").Tasks[p].Assignment}
			w.tell(message{kind: msgPrepared, epoch: w.c.epoch, answer: 2, part: part})
			return
		}
	}
	w.now = w.now.Add(11 * time.Second)
	w.tell(message{kind: msgTick})
}

func (w *world) anyEpoch() state.Epoch {
	newest := max(w.fsm.app("app").Newest, 1)
	if rapid.Bool().Draw(w.t, "the newest") {
		return newest
	}
	return state.Epoch(rapid.IntRange(1, int(newest)).Draw(w.t, "epoch"))
}

// prepare lets a task, the present one or one before, answer a barrier.
func (w *world) prepare() {
	epoch := w.anyEpoch()
	if !w.barrier[epoch] {
		return
	}
	p := uint32(rapid.IntRange(0, 1).Draw(w.t, "p"))
	number := w.fsm.app("app").Tasks[p].Assignment
	if rapid.IntRange(0, 4).Draw(w.t, "stale") == 0 {
		number--
	}
	w.tell(message{kind: msgPrepared, epoch: epoch, answer: 2, part: &checkpoint.Partition{Partition: p, Assignment: number}})
}

// effect lets one thing that a leader wants happen, fail, get lost, or happen twice.
func (w *world) effect() {
	if len(w.pending) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.pending)-1).Draw(w.t, "which")
	e := w.pending[i]
	fate := rapid.SampledFrom([]string{"done", "done", "done", "lost", "twice", "unanswered"}).Draw(w.t, "fate")
	if fate != "twice" {
		w.pending = slices.Delete(w.pending, i, i+1)
	}
	if fate == "lost" {
		return
	}
	m, answered := w.act(e)
	// A leadership that is over hears nothing any more.
	if answered && fate != "unanswered" && e.by == w.c {
		m.epoch = e.epoch
		w.tell(m)
	}
}

func (w *world) act(e pendingEffect) (message, bool) {
	leads := e.by == w.c // Raft takes commands of the leader alone
	switch e.do {
	case doOpen:
		if !leads {
			return message{}, false
		}
		answer := w.apply(&command{Kind: kindOpen, App: "app", Epoch: e.epoch, Term: checkpoint.Term(w.term), ID: checkpoint.ID{byte(e.epoch), byte(w.term)}, Time: w.now})
		return message{kind: msgOpened, reason: refused(answer)}, true
	case doBarrier:
		w.barrier[e.epoch] = true
		return message{kind: msgBarrier}, true
	case doStore:
		for _, p := range e.parts {
			if p == nil {
				w.t.Fatalf("epoch %d: a manifest without a partition", e.epoch)
			}
		}
		if uint64(e.by.term) < w.storeAt {
			return message{kind: msgStored, reason: "fenced"}, true
		}
		w.stored[e.epoch] = uint64(e.by.term)
		return message{kind: msgStored}, true
	case doCommit:
		if !leads {
			return message{}, false
		}
		if w.stored[e.epoch] == 0 {
			w.t.Fatalf("epoch %d is committed without a manifest", e.epoch)
		}
		answer := w.apply(&command{Kind: kindCommit, App: "app", Commit: &committed{CheckpointRef: control.CheckpointRef{Generation: 1, Epoch: e.epoch, Digest: fmt.Sprint(e.epoch)}}})
		if o, _ := w.fsm.app("app").outcome(e.epoch); !o.Committed && refused(answer) == "" {
			w.t.Fatalf("epoch %d was committed, and its outcome is %+v", e.epoch, o)
		}
		there := slices.ContainsFunc(w.fsm.app("app").Committed, func(k committed) bool { return k.Epoch == e.epoch })
		if there && refused(answer) != "" {
			w.t.Fatalf("epoch %d is committed, and cannot be committed once more: %s", e.epoch, refused(answer))
		}
		if len(w.used[e.epoch]) == 0 {
			w.used[e.epoch] = []string{fmt.Sprint(e.epoch)}
		}
		return message{kind: msgCommitted}, refused(answer) == ""
	case doAbort:
		if !leads {
			return message{}, false
		}
		answer := w.apply(&command{Kind: kindAbort, App: "app", Epoch: e.epoch, Reason: e.reason})
		return message{kind: msgAborted}, refused(answer) == ""
	case doLook:
		return message{kind: msgFound, found: w.stored[e.epoch] > 0}, true
	}
	return message{}, false
}

func refused(answer any) string {
	if no, ok := answer.(refusal); ok {
		return no.err.Text
	}
	return ""
}

// check brings the group to rest under a last leader: then a checkpoint can be made.
func (w *world) check() {
	w.lead()
	rest := func() {
		for n := 0; len(w.pending) > 0; n++ {
			if n > 1000 {
				w.t.Fatalf("no rest: %+v", w.pending)
			}
			e := w.pending[0]
			w.pending = w.pending[1:]
			if m, answered := w.act(e); answered && e.by == w.c {
				m.epoch = e.epoch
				w.tell(m)
			}
		}
	}
	rest()
	w.tell(message{kind: msgTrigger, answer: 9})
	rest()
	epoch := w.fsm.app("app").Newest
	for p := range uint32(2) {
		w.tell(message{kind: msgPrepared, epoch: epoch, answer: 2, part: &checkpoint.Partition{Partition: p, Assignment: w.fsm.app("app").Tasks[p].Assignment}})
		rest()
	}
	if got := w.decided[epoch]; got != "committed" {
		w.t.Fatalf("epoch %d at rest is %q, phase %s", epoch, got, w.c.phase)
	}
	for e := state.Epoch(1); e <= epoch; e++ {
		if w.decided[e] == "" {
			w.t.Fatalf("epoch %d was never decided", e)
		}
	}
}
