package checkpointer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// A text that was deployed is accepted again, even if newer rules refuse it. The same text
// under another name, or another text under its name, is not.
func TestDeployedTextIsNeverRefused(t *testing.T) {
	text := func(name, subject string) string {
		return "@app:name('" + name + "') @app:unknown @source(subject='" + subject + "') define stream S (v int); from S insert into Out;"
	}
	fsm := newFSM(t)
	old, err := siddhiql.CompileDeployed(text("old", "EF_INBOX.x.>"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(&command{Version: thisVersion, Kind: kindDeploy, App: "old", Deploy: &control.App{Name: "old", Partitions: 1, Plan: old.Digest}})
	if err != nil {
		t.Fatal(err)
	}
	if answer := fsm.Apply(&raft.Log{Index: 1, Data: data}); fsm.app("old") == nil {
		t.Fatal(answer)
	}
	for _, c := range []struct{ text, refused string }{
		{text("old", "EF_INBOX.x.>"), ""},
		{text("old", "EF_INBOX.x.>") + " -- with a comment", ""},
		{text("old", "EF_INBOX.y.>"), "EF_INBOX"},
		{text("new", "EF_INBOX.x.>"), "EF_INBOX"},
		{text("new", "mine.x"), "unknown annotation"},
		{strings.ReplaceAll(text("new", "mine.x"), "@app:unknown", ""), "overlaps `mine.>`"},
		{strings.ReplaceAll(text("new", "yours.x"), "@app:unknown", ""), ""},
		{"define", "expected"},
	} {
		plan, err := deployable(c.text, "mine", fsm)
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) || (plan == nil) != (err != nil) {
			t.Errorf("%s: %v, want %q", c.text, err, c.refused)
		}
	}
}
