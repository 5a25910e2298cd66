package ingest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

func TestInfo(t *testing.T) {
	r := start(t, nil, flightsApp)
	r.ask("events.Flights", `[{"origin":"a","delay":1},{"origin":"b","delay":1},{}]`)
	m, err := r.pub.RequestWithContext(within(t), "ef.ingest.streams", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `"accepted":2,"refused":1,"unknown":0,"overload":0,"slow":0,"unavailable":0,"dropped":0,"failed":0,"unanswered":0,"dead_letters_lost":0,` +
		`"apps":[{"app":"a","index":1,"state":"serving"}],"streams":[{"app":"a","stream":"Flights","subject":"events.Flights","partitions":1,` +
		`"attributes":[{"name":"origin","type":"string"},{"name":"delay","type":"int"}],"accepted":2,"refused":1}]}`
	if !strings.HasSuffix(string(m.Data), want) {
		t.Errorf("%s", m.Data)
	}
	if m, err = r.pub.RequestWithContext(within(t), "$SRV.INFO.eventflux-ingest", nil); err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(m.Data, &info); err != nil {
		t.Fatal(err)
	}
	if info.Version != "0.1.0" || info.Metadata["durability"] != "fast" || !strings.Contains(info.Metadata["guarantee"], "power loss") {
		t.Errorf("%+v", info)
	}
}

func TestConfigIsChecked(t *testing.T) {
	r := start(t, nil, flightsApp)
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{"no connection", func(c *Config) { c.Conn = nil }},
		{"ingest.event_bytes_max", func(c *Config) { c.EventBytesMax = -1 }},
		{"ingest.memory_max", func(c *Config) { c.MemoryMax = -1 }},
		{"stop timeout", func(c *Config) { c.StopTimeout = -1 }},
		{"durability(9)", func(c *Config) { c.Durability = 9 }},
	} {
		cfg := Config{Conn: r.pub, Version: "0.1.0"}
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	s, err := New(Config{Conn: r.pub, Version: "devel", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(within(t)); err == nil || !strings.Contains(err.Error(), "register the service") {
		t.Errorf("with an impossible version: %v", err)
	}
}

func TestPatternsOfSubscriptions(t *testing.T) {
	var all []*source
	for _, subject := range []string{"b.c", "events.X", "events.*.y", "b.*", "a", "b.c", "z.>", "z.*.q", "out.x.Y.*"} {
		all = append(all, &source{stream: &siddhiql.Stream{Subject: subject}})
	}
	kept := patterns(all)
	equal(t, "patterns", kept, []string{"events.>", "a", "b.*", "z.>"})
}
