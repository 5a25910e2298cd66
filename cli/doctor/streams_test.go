package doctor_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

func TestFaultsOfStreams(t *testing.T) {
	testFaults(t, map[string]fault{
		"log forgets": {
			fault: func(w *ward) {
				w.edit("EFW_w_0", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld })
			},
			check: "streams", severity: doctor.Error, meaning: "discard is DiscardOld, want DiscardNew",
		},
		"log forgets by age": {
			fault: func(w *ward) { w.edit("EFW_w_0", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }) },
			check: "streams", severity: doctor.Error, meaning: "forgets by age",
		},
		"results are forgotten by age": {
			fault: func(w *ward) { w.edit("EFO_w_0", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }) },
			check: "streams", severity: doctor.Warning, meaning: "max_age is 1h0m0s, set by hand",
		},
		"frames have a largest size": {
			fault: func(w *ward) { w.edit("EFW_w_0", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }) },
			check: "streams", severity: doctor.Warning, meaning: "max_msg_size is 1048576, set by hand",
		},
		"results one by one": {
			fault: func(w *ward) {
				w.edit("EFO_w_0", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
			},
			check: "streams", severity: doctor.Error, meaning: "allow_atomic is false, want true",
		},
		"log is full": {
			settings: func(c *config.Config) { c.WAL.BytesMax = 4 << 10 },
			fault: func(w *ward) {
				for range 100 {
					ctx, cancel := context.WithTimeout(w.within(), 3*time.Second)
					_, err := w.js.Publish(ctx, "events.S", []byte(`{"k":"a","v":1}`))
					cancel()
					if err != nil {
						return
					}
				}
			},
			check: "streams", severity: doctor.Error, meaning: "when it is full it takes no more",
		},
		"stream is gone": {
			fault: func(w *ward) {
				if err := w.js.DeleteStream(w.within(), "EFD_w"); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "streams", severity: doctor.Error, meaning: "not there",
		},
		"stream of no app": {
			fault: func(w *ward) {
				if _, err := natsconn.EnsureWAL(w.within(), w.js, "other", 0, natsconn.StreamLimits{}); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "streams", severity: doctor.Warning, meaning: "no deployed app",
		},
		"log is trimmed too far": {
			fault: func(w *ward) {
				w.publish(3)
				w.checkpoint()
				w.publish(3)
				s, err := w.js.Stream(w.within(), "EFW_w_0")
				if err != nil {
					w.t.Fatal(err)
				}
				if err := s.Purge(w.within()); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "logs", severity: doctor.Error, meaning: "a start from checkpoint 1 needs it from",
		},
		"log is another one": {
			fault: func(w *ward) {
				w.checkpoint()
				if err := w.js.DeleteStream(w.within(), "EFW_w_0"); err != nil {
					w.t.Fatal(err)
				}
				if _, err := natsconn.EnsureWAL(w.within(), w.js, "w", 0, natsconn.StreamLimits{}); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "logs", severity: doctor.Error, meaning: "it is another one",
		},
		"results are missing": {
			fault: func(w *ward) {
				w.result("1:700.0", "0:0.0")
				w.result("1:900.0", "1:800.0")
			},
			check: "results", severity: doctor.Error, meaning: "1:900.0 on out.w.Missing.0 follows 1:800.0",
		},
		"results of a former generation are missing": {
			idle: true, fault: func(w *ward) {
				w.generation(2)
				w.result("1:700.0", "0:0.0")
				w.result("1:900.0", "1:800.0")
				w.result("2:800.0", "1:900.0")
			},
			check: "results", severity: doctor.Warning, meaning: "before the app's present one, 2, results are missing: 1:900.0",
		},
		"results are missing again": {
			idle: true, fault: func(w *ward) {
				w.generation(2)
				w.result("1:700.0", "0:0.0")
				w.result("1:900.0", "1:800.0")
				w.result("2:901.0", "2:900.0")
			},
			check: "results", severity: doctor.Error, meaning: "2:901.0 on out.w.Missing.0 follows 2:900.0",
		},
		"the front of the results is gone": {
			fault: func(w *ward) {
				s, err := w.js.Stream(w.t.Context(), natsconn.OutStream("w", 0))
				if err == nil {
					err = s.Purge(w.t.Context(), jetstream.WithPurgeSequence(2))
				}
				if err != nil {
					w.t.Fatal(err)
				}
			},
			check: "results", severity: doctor.Warning, meaning: "the stream starts at message 2",
		},
	})
}
