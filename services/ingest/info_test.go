package ingest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"eventflux/shared/siddhiql"
)

func TestInfo(t *testing.T) {
	r := start(t, nil, flightsApp)
	r.ask("events.Flights", `[{"origin":"a","delay":1},{"origin":"b","delay":1},{}]`)
	m, err := r.pub.RequestWithContext(within(t), "ef.ingest.streams", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `"accepted":2,"refused":1,"unknown":0,"overload":0,"slow":0,"dropped":0,"failed":0,"unanswered":0,"dead_letters_lost":0,` +
		`"streams":[{"app":"a","stream":"Flights","subject":"events.Flights","partitions":1,` +
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
		{"two apps are called a", func(c *Config) { c.Plans = append(c.Plans, c.Plans...) }},
		{"the name is empty", func(c *Config) { c.Plans[0].Name = "" }},
		{"0 partitions", func(c *Config) { c.Plans[0].Partitions = 0 }},
		{"no key", func(c *Config) { c.Plans[0].Partitions = 2 }},
		{"own results", func(c *Config) { c.Plans[0].Streams[0].Subject = "out.a.Out.0" }},
		{"starts with a wildcard", func(c *Config) { c.Plans[0].Streams[0].Subject = "*.x" }},
	} {
		cfg := Config{Conn: r.pub, Plans: plans(t, flightsApp), Version: "0.1.0"}
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	s, err := New(Config{Conn: r.pub, Plans: plans(t, flightsApp), Version: "devel", Log: quiet})
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
	for subject, want := range map[string]string{"events.X": "events.>", "b.c": "b.*", "z.1.q": "z.>", "other": ""} {
		if got := owner(kept, subject); got != want {
			t.Errorf("%s is handled by %q, want %q", subject, got, want)
		}
	}
}
