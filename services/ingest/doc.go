// Package ingest accepts events from NATS subjects and appends them to the logs
// of the apps that read them. A publisher is answered once its events are durable
// in the log of every such app, in the form of JetStream's PubAck, so that any
// client's JetStream publish works unchanged. What the events then cause is
// services/processor's business; how frames are written is shared/log/wal's.
//
//	events.Flights ──▶ intake ──▶ decode ──▶ split by key ──▶ log of app a, partition 0
//	                     │          │                    └──▶ log of app b, partition 3
//	reply ◀── PubAck ────┼──────────┼───────── durable in all ────┘
//	      ◀── error ─────┘          └──▶ dlq.<app>.<Stream>
//
// # What is promised
//
//   - An answer without an error: all events of the message are in the logs, and
//     survive what the durability profile says.
//     If several apps read the subject, "rejected" lists what some of them
//     refused for good: each event is durable in at least one app.
//   - An answer with an error of class 400: the events it lists are in no log (of
//     the app it names), are dead letters, and will be refused again. The others
//     of the message are durable; "accepted" tells how many.
//   - An answer with another error, or none: repeat the message. With the same
//     Nats-Msg-Id it counts once. If several apps read the subject, "accepted"
//     lists those that have the message. If there are any, "id" is the Nats-Msg-Id
//     for the repeat, also if the publisher gave none.
//   - Events of one publisher are in each log in the order in which they were
//     published.
//   - A publisher without a reply subject is told nothing, and what cannot be
//     taken is counted as dropped.
//
// # Errors
//
// The numbers are outside of those that NATS uses. They are a contract.
//
//	err_code  code  meaning                                              repeat?
//	20001     404   no deployed app reads the subject                    no
//	20002     413   the message, or what it holds, is too large          no, split it
//	20003     400   a header has a value that is not allowed             no
//	20004     400   some or all events of the message are refused        no
//	20005     503   too many bytes wait to be durable                    yes, later
//	20006     503   ingest ended before it was known what is durable     yes
//	20007     503   the log cannot be written                            yes, once repaired
//	20008     503   a task is too far behind its log (ingest.lag_max)    yes, later
//	20009     503   a task is over one of its limits                     yes, later
//	20010     503   an app that reads the subject takes no events now;   yes, later
//	                no app has the message
//	20011     503   the disk of the logs is full (disk.reserve)          yes, later
//
// # Apps
//
// Apps come and go while the service runs (Service.Serve). Each is a unit of its own, with
// its writers and followers:
//
//	            streams found,         subscribed
//	starting ── logs may be written ──────────────▶ serving
//	    │               ▲                              │ a log cannot be written
//	    │ trouble       │ tries again                  │
//	    └────────────▶ waiting ◀───────────────────────┘
//
//	left out: its name or a subject cannot be served. One that NATS refuses is tried again
//
// An app that waits gets no events, and neither does any other app that reads the same
// subject: the publisher gets error 20010 and repeats the message for all of them. An app
// that is left out counts as not deployed.
//
// # Results as input
//
// A source on out.<app>.<Stream>.<p>, or on out.<app>.<Stream>.* for all
// partitions, has the results of another app for events. They are not subscribed
// to, but read from that app's JetStream streams, by a follower for each (app, stream,
// partition of the other app):
//
//	EFO_first_0 ──▶ follower ──▶ decode ──▶ split by key ──▶ log of app next, partition 0
//	                    │                        └─────────▶ log of app next, partition 1
//	EF_LINKS ◀── position: durable in all, and lease of the source
//
// And each counts once. A result carries its place in its partition's history
// (generation, log sequence, ordinal), and has it in the log too, as the message id
// <subject>:<generation>:<sequence>.<ordinal>. At each start of reading, the logs
// themselves tell which results they have. The task, which keeps the newest place of each
// subject, is a second line.
//
//   - Results of one partition are in each log in their order. Those of several
//     partitions are mixed as they come.
//   - The row's own timestamp is the result's. Ef-Kind is not looked at: a row that
//     expired in the other app is an event here. Packed results are many rows of
//     one place.
//   - What can never be an event is a dead letter, and done with. A crash may
//     repeat dead letters.
//   - Where memory or a log is full, results stay where they are. They take at most
//     half of the memory, and leave the rest to publishers.
//   - One process reads for a source at a time, by a lease. If two do all the same, what
//     they append is in the log twice, and the task takes each place once.
//
// Read config.go, service.go, unit.go, then in the order of a message's way: listener.go and
// queue.go, routes.go and subject.go, intake.go, flow.go, backlog.go, headers.go, append.go, ack.go, answer.go, deadletter.go;
// of a result's way: link.go, lease.go, follower.go, place.go, history.go, take.go, progress.go;
// counters.go and info.go tell operators what happened.
package ingest
