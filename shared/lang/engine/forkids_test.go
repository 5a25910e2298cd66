package engine_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
)

// formerBlock is an entry with the message ids that a partition had before its app was scaled.
func formerBlock(number uint64, ids ...string) state.Entry {
	key := []byte{'o', 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1}
	var value []byte
	for _, id := range ids {
		value = append(binary.AppendUvarint(binary.AppendVarint(value, 1), uint64(len(id))), id...)
	}
	return state.Entry{Key: binary.BigEndian.AppendUint64(key, number), Value: value}
}

// Two forks of an app that was scaled keep the message ids from before that; forks that were scaled
// apart are refused.
func TestMergedIDsOfFormerPartitions(t *testing.T) {
	first, second := formerBlock(0, "a", "b"), formerBlock(256, "c")
	got, err := engine.MergeIDs([]state.Entry{first, second}, []state.Entry{first})
	if err != nil || len(got) != 2 || string(got[0].Value) != string(first.Value) || string(got[1].Value) != string(second.Value) {
		t.Errorf("%v, %q", err, got)
	}
	if _, err := engine.MergeIDs([]state.Entry{first}, []state.Entry{formerBlock(0, "a", "x")}); err == nil || !strings.Contains(err.Error(), "the forks were scaled apart") {
		t.Error(err)
	}
}
