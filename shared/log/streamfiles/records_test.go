package streamfiles

import "testing"

// A server that runs may trim a block while it is read: what is left is read.
func TestMessagesOfABlockThatIsTrimmed(t *testing.T) {
	dir, _ := filled(t, false)
	c := &checker{Config: Config{Dir: dir}}
	folders, err := c.folders()
	must(t, err)
	for _, s := range folders {
		if s.name != walStream {
			continue
		}
		seen := 0
		for _, index := range []uint32{1 << 20, 1} {
			must(t, s.messages(index, func(*Message) { seen++ }, func(_ string, _, _ int, why string) { t.Error(why) }))
		}
		if seen != messages {
			t.Errorf("%d messages, want %d", seen, messages)
		}
		return
	}
	t.Fatal("no log")
}
