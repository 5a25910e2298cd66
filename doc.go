// Package eventflux is stateful, exactly-once stream processing for NATS, inside a Go
// program. An app is written in SiddhiQL: it reads events from NATS subjects, keeps windows
// and aggregates, and writes results to NATS subjects. A crash loses no acknowledged event
// and no result, and repeats none.
//
//	events ──▶ Publisher ──▶ NATS subject ──▶ app (Deploy) ──▶ Subscription ──▶ results
//
// Open runs all of EventFlux in the program, with an embedded NATS server or on your own
// servers. Connect uses a cluster that runs elsewhere. Package eventfluxtest tests an app
// without any server, on a virtual clock.
//
// Apps can use your own windows, aggregators and functions: packages shared/lang/window,
// shared/lang/aggregate and shared/lang/function describe how to register them, and the module
// examples/custom has one of each.
package eventflux
