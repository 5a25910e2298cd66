// Package ingest accepts events from NATS subjects and appends them to the logs of the
// apps that read them. It answers a publisher once the events are durable in the log of
// every such app. The answer has the form of JetStream's PubAck, so the JetStream publish
// of any client works unchanged. Package processor applies the events; package wal writes
// the frames.
//
//	events.Flights ──▶ intake ──▶ decode ──▶ split by key ──▶ log of app a, partition 0
//	                     │          │                    └──▶ log of app b, partition 3
//	reply ◀── PubAck ────┼──────────┼───────── durable in all ────┘
//	      ◀── error ─────┘          └──▶ dlq.<app>.<Stream>
//
// # Guarantees
//
//   - After an answer without an error, all events of the message are in the logs, and
//     survive the failures that the durability profile covers. If several apps read the
//     subject, "rejected" lists the events that some of them refused permanently; each
//     event is durable in at least one app.
//   - After an answer with an error of class 400, the listed events are in no log (of the
//     named app). They are dead letters, and will be refused again. The other events of the
//     message are durable, and "accepted" is their number.
//   - After an answer with another error, or without an answer, repeat the message. With
//     the same Nats-Msg-Id it counts once. If several apps read the subject, "accepted"
//     lists the apps that have the message. If there are any, "id" is the Nats-Msg-Id for
//     the repetition, even if the publisher set none.
//   - The events of one publisher have the order of publication in each log.
//   - A publisher without a reply subject gets no answer. Messages that ingest cannot
//     accept are counted as dropped.
//
// # Errors
//
// NATS does not use these numbers. They are a contract.
//
//	err_code  code  meaning                                              repeat?
//	20001     404   no deployed app reads the subject                    no
//	20002     413   the message, or what it holds, is too large          no, split it
//	20003     400   a header has a value that is not allowed             no
//	20004     400   some or all events of the message are refused        no
//	20005     503   too many bytes wait to be durable                    yes, later
//	20006     503   ingest stopped before the outcome was known          yes
//	20007     503   the log cannot be written                            yes, once repaired
//	20008     503   a task lags too far (ingest.lag_max)                 yes, later
//	20009     503   a task is over one of its limits                     yes, later
//	20010     503   an app that reads the subject accepts no events now; yes, later
//	                no app has the message
//	20011     503   the disk of the logs is full (disk.reserve)          yes, later
//
// # Apps
//
// Apps come and go while the service runs (Service.Serve). Each app has its own unit, with
// its own writers and followers:
//
//	            streams found,         subscribed
//	starting ── logs may be written ──────────────▶ serving
//	    │               ▲                              │ a log cannot be written
//	    │ trouble       │ tries again                  │
//	    └────────────▶ waiting ◀───────────────────────┘
//
//	left out: its name or a subject cannot be served. If NATS refuses a subject, it is retried
//
// While an app waits, neither it nor any other app that reads the same subject gets events:
// the publisher gets error 20010 and repeats the message for all of them. An app that is
// left out counts as not deployed.
//
// # Results as input
//
// A source on out.<app>.<Stream>.<p>, or on out.<app>.<Stream>.* for all partitions, uses
// the results of another app as events. Ingest does not subscribe to them. A follower for
// each app, stream and partition of the other app reads them from that app's JetStream
// streams:
//
//	EFO_first_0 ──▶ follower ──▶ decode ──▶ split by key ──▶ log of app next, partition 0
//	                    │                        └─────────▶ log of app next, partition 1
//	EF_LINKS ◀── position: durable in all, and lease of the source
//
// Each result counts once. It carries its position in the history of its partition
// (generation, log sequence, ordinal), and the log keeps that position as the message id
// <subject>:<generation>:<sequence>.<ordinal>. At each start of reading, the follower finds
// out from the logs which results they have. The task also keeps the newest position of
// each subject and ignores results that it has seen.
//
//   - Results of one partition keep their order in each log. Results of several partitions
//     are mixed as they arrive.
//   - A row has the timestamp of its result. Ef-Kind is ignored: a row that expired in the
//     other app is an event here. A packed result has many rows at one position.
//   - A result that can never be an event becomes a dead letter. A crash may repeat dead
//     letters.
//   - If memory or a log is full, results wait in their stream. They use at most half of
//     the memory, and leave the rest to publishers.
//   - One process reads for a source at a time, by a lease. If two do so anyway, results
//     are in the log twice, and the task uses each position once.
//
// # Rows of KV buckets
//
// A table with @source(kv='…') gets the rows of a KV bucket. One process reads the bucket for it,
// by the same kind of lease, and appends records to every log of the app: first a load of all
// rows, and then each change. Events of the app wait for the first load (hold.go).
//
// Read config.go, service.go, unit.go; then the path of a message: listener.go and queue.go,
// routes.go and subject.go, intake.go, flow.go, backlog.go, headers.go, append.go, ack.go,
// answer.go, deadletter.go; the path of a result: link.go, lease.go, follower.go, place.go,
// history.go, take.go, progress.go; the path of a row: bucket.go, bucketrecord.go. counters.go and info.go are for operators.
package ingest
