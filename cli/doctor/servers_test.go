package doctor_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/services/ingest"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

func TestFaultsOfServers(t *testing.T) {
	testFaults(t, map[string]fault{
		"server does not sync": {
			options: func(o *server.Options) { o.SyncAlways = false }, settings: func(c *config.Config) { c.WAL.Durability = "durable" }, idle: true,
			check: "sync", severity: doctor.Error, meaning: "power loss takes events",
		},
		"durability is fast": {
			settings: func(c *config.Config) { c.WAL.Durability = "fast" },
			check:    "sync", severity: doctor.Warning, meaning: "two minutes",
		},
		"small messages": {
			options: func(o *server.Options) { o.MaxPayload = 64 << 10 }, idle: true,
			check: "server", severity: doctor.Error, meaning: "65536 bytes",
		},
		"no JetStream": {
			options: func(o *server.Options) { o.JetStream = false }, idle: true,
			check: "server", severity: doctor.Error, meaning: "JetStream does not answer",
		},
		"nothing runs": {idle: true, check: "services", severity: doctor.Error, meaning: "no events are accepted"},
		"subscriber to a log": {
			fault: func(w *ward) { w.subscribe("ef.wal.w.*") },
			check: "subscribers", severity: doctor.Error, meaning: "subscribes to ef.wal.w.*",
		},
		"subscriber to everything": {
			fault: func(w *ward) { w.subscribe(">") },
			check: "subscribers", severity: doctor.Warning, meaning: "subscribes to everything",
		},
		"another version": {
			fault: func(w *ward) {
				w.announce("ingest", "1.3.0", natsconn.Where(nil), nil)
				w.announce("processor", "1.3.0", map[string]string{"processor": "p2", "host": "h"}, nil)
			},
			check: "versions", severity: doctor.Warning, meaning: "recovery on " + host() + "), 1.3.0 (ingest on " + host() + ", processor p2). That works",
		},
		"another major version": {
			fault: func(w *ward) { w.announce("ingest", "2.0.0", nil, nil) },
			check: "versions", severity: doctor.Error, meaning: "2.0.0",
		},
		"clock is ahead": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now().Add(time.Minute)})
			},
			check: "clocks", severity: doctor.Error, meaning: "ahead of the one here",
		},
		"clock is behind": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now().Add(-time.Second)})
			},
			check: "clocks", severity: doctor.Warning, meaning: "behind the one here",
		},
		"monitor is not named": {
			idle: true, fault: func(w *ward) { w.cfg.NATS.Monitor = "" },
			check: "sync", severity: doctor.Unknown, meaning: "not told to ordinary clients",
		},
		"subscriber to a log, and no monitor": {
			idle: true, fault: func(w *ward) {
				w.cfg.NATS.Monitor = ""
				w.subscribe("ef.wal.*.0")
			},
			check: "subscribers", severity: doctor.Error, meaning: "subscribes to ef.wal.*.0",
		},
	})
}
