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

// apply commits a command in Raft, and records decisions.
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

// digests returns the digests of the retained manifests, and of all manifests that Raft
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

// checkKept checks the rule that sweeps and tasks rely on: a manifest is dropped only by the
// commit of an epoch that was opened when the manifest was no longer retained.
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

// retire retires one of the checkpoints, but never the newest.
func (w *world) retire() {
	if all := w.fsm.app("app").Committed; len(all) > 1 {
		w.apply(&command{Kind: kindRetire, App: "app", Epochs: []state.Epoch{all[rapid.IntRange(0, len(all)-2).Draw(w.t, "old")].Epoch}})
	}
}

// swap is a merger's request to replace a manifest: the current one, a former one, or the
// manifest of a checkpoint that does not exist.
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

// lead starts another leadership. Effects of the former one may still happen.
func (w *world) lead() {
	w.term++
	var effects []effect
	w.c, effects = newCoordinator(appInRaft{w.fsm, "app"}, w.fsm.app("app").Open, checkpoint.Term(w.term), w.now, 10*time.Second, time.Minute)
	w.storeAt = w.term // the fence
	w.want(effects)
}

func (w *world) want(effects []effect) {
	for _, e := range effects {
		w.pending = append(w.pending, pendingEffect{e, w.c})
	}
}

func (w *world) deliver(m message) {
	m.now = w.now
	w.want(w.c.step(m))
}

// kindsOfSteps has each kind of step as often as its weight.
var kindsOfSteps = []int{0, 1, 2, 3, 4, 4, 6, 7, 7, 7, 7, 8, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10}

// step makes a random step.
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
		w.deliver(message{kind: msgTick})
	case 1:
		w.deliver(message{kind: msgTrigger, answer: 1})
	case 2:
		if rapid.IntRange(0, 3).Draw(w.t, "really") == 0 {
			w.lead()
		}
	case 3:
		p := uint32(rapid.IntRange(0, 1).Draw(w.t, "p"))
		if rapid.IntRange(0, 3).Draw(w.t, "really") == 0 {
			w.apply(&command{Kind: kindAttach, App: "app", Owner: &control.Owner{Partition: p, Owner: fmt.Sprint(w.index)}})
		}
	case 4:
		w.prepare()
	case 6:
		w.deliver(message{kind: msgFailed, epoch: w.anyEpoch(), answer: 3, reason: "a task has failed"})
	default:
		w.effect()
	}
}

// advance carries out the next effect that a checkpoint needs.
func (w *world) advance() {
	for i, e := range w.pending {
		if e.by == w.c {
			w.pending = slices.Delete(w.pending, i, i+1)
			if m, answered := w.act(e); answered {
				m.epoch = e.epoch
				w.deliver(m)
			}
			return
		}
	}
	for p := range uint32(2) {
		if w.c.phase == collecting && w.c.parts[p] == nil {
			part := &checkpoint.Partition{Partition: p, Assignment: w.fsm.app("app").Tasks[p].Assignment}
			w.deliver(message{kind: msgPrepared, epoch: w.c.epoch, answer: 2, part: part})
			return
		}
	}
	w.now = w.now.Add(11 * time.Second)
	w.deliver(message{kind: msgTick})
}

func (w *world) anyEpoch() state.Epoch {
	newest := max(w.fsm.app("app").Newest, 1)
	if rapid.Bool().Draw(w.t, "the newest") {
		return newest
	}
	return state.Epoch(rapid.IntRange(1, int(newest)).Draw(w.t, "epoch"))
}

// prepare is the answer of a task, the current one or a former one, to a barrier.
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
	w.deliver(message{kind: msgPrepared, epoch: epoch, answer: 2, part: &checkpoint.Partition{Partition: p, Assignment: number}})
}

// effect makes one pending effect happen, fail, get lost, or happen twice.
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
	// A leadership that is over gets no more messages.
	if answered && fate != "unanswered" && e.by == w.c {
		m.epoch = e.epoch
		w.deliver(m)
	}
}

func (w *world) act(e pendingEffect) (message, bool) {
	leads := e.by == w.c // Raft accepts only the leader's commands
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

// check brings the group to rest under a last leader, and checks that it can make a
// checkpoint.
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
				w.deliver(m)
			}
		}
	}
	rest()
	w.deliver(message{kind: msgTrigger, answer: 9})
	rest()
	epoch := w.fsm.app("app").Newest
	for p := range uint32(2) {
		w.deliver(message{kind: msgPrepared, epoch: epoch, answer: 2, part: &checkpoint.Partition{Partition: p, Assignment: w.fsm.app("app").Tasks[p].Assignment}})
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
