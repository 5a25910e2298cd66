// Package config holds what an operator can set: a table of settings, each with
// a default, a unit, a meaning and a check, filled from defaults, a YAML file,
// the environment and flags, the later ones winning. What a setting does is left
// to the package that reads it. settings.go has the table.
package config

import (
	"log/slog"
	"path/filepath"
	"time"
)

// Config holds the value of every setting. It is read-only once loaded.
type Config struct {
	// Data is the folder that holds everything durable.
	Data string
	// Listen is the address of the embedded NATS server.
	Listen string
	// Insecure lets the embedded server listen beyond this machine without
	// authentication.
	Insecure bool
	// ConfigFile is the YAML file that was read, "" where none was.
	ConfigFile string

	Disk       Disk
	NATS       NATS
	Server     Server
	WAL        WAL
	Ingest     Ingest
	Dedup      Dedup
	Limits     Limits
	Checkpoint Checkpoint
	Store      Store
	Retention  Retention
	Merger     Merger
	Recovery   Recovery
	Processor  Processor
	Raft       Raft
	Metrics    Metrics
	Pprof      Pprof
	Log        Log

	sources map[string]Source
}

// Disk says how full the disk of the data folder may become.
type Disk struct {
	Reserve Size // free bytes below which no events are taken; 0 for no limit
}

// NATS says which NATS to use.
type NATS struct {
	URL string // of an external server; "" for the embedded one
	// Monitor holds the monitoring ports of the external servers, as URLs with commas
	// between; they tell whether a server syncs before it acknowledges, which its
	// clients cannot see.
	Monitor string
	// CA, Cert and Key are files: the authorities that sign the servers' certificates,
	// and the certificate of this client with its key, "" for none.
	CA, Cert, Key string
	User          string // "" for none
	PasswordFile  string // with the password of User
	NKey          string // file with the seed of the user's nkey; "" for none
	Creds         string // file with the user's JWT and key; "" for none
	TokenFile     string // file with a token; "" for none
	// Context names a context of the NATS command line; "" for none. It sets what is "" here.
	Context string
	// Password and Token are secrets that the context has. They are not settings.
	Password, Token string
	Inbox           string // prefix of the subjects for answers; "" for _INBOX
	Replicas        int    // copies of each JetStream stream
}

// Server says who may connect to the embedded NATS server.
type Server struct {
	User         string // "" for none
	PasswordFile string // with the password of User
	NKeys        string // public keys of users, with commas between
	// Cert and Key are files with the server's certificate and key, "" for no TLS. CA is
	// a file with the authorities that sign the certificates of clients; "" for clients
	// without one.
	Cert, Key, CA string
}

// WAL holds the settings of the write-ahead log.
type WAL struct {
	Durability Durability
	BytesMax   Size // of one partition's log; 0 for no limit
}

// Ingest holds the settings of the intake of events.
type Ingest struct {
	EventBytesMax Size
	MemoryMax     Size // of events that wait until they are durable
	// LagMax is how long a task may need for the events that were accepted.
	LagMax time.Duration
}

// Dedup has the settings of the recognition of repeated message ids.
type Dedup struct {
	Window time.Duration // in log time
}

// Checkpoint says when checkpoints are made.
type Checkpoint struct {
	Interval time.Duration // from the opening of one to the opening of the next
	Timeout  time.Duration // after this time an incomplete checkpoint is aborted
	// FullEvery is after how many incremental checkpoints in a row the state is
	// written as a whole again.
	FullEvery int
}

// Store says where checkpoints are kept.
type Store struct {
	URL   string // "" for the folder checkpoints in Data
	Codec string // none, lz4, snappy, zstd or auto
}

// Retention says which checkpoints are kept, and with them the log: the newest
// ones, and all within a span of time.
type Retention struct {
	Checkpoints int
	Span        time.Duration
}

// Merger says when chains of incremental checkpoints are folded.
type Merger struct {
	Interval time.Duration // after which all apps are looked at, besides after each checkpoint
	ChainMax int           // deltas
	// DeltaRatio is how large the deltas may be against the state that they follow.
	DeltaRatio float64
}

// Recovery says how state is restored.
type Recovery struct {
	Workers    int // blocks that are fetched or stored at once; see stores.Workers for 0
	ShadowRate int // events per second of a shadow that catches up; 0 for any number
}

// Processor says who this processor is.
type Processor struct {
	ID      string // unique in the cluster; "" for the name of the host
	Standby string // on or off
	// StateBytesMax is the memory that the state of a task may take; 0 for any.
	StateBytesMax Size
}

// Limits bound what apps may ask for. Checkpointers fix the first five in each deployment.
type Limits struct {
	EventRowsMax, FrameRowsMax int
	FrameBytesMax, KeyBytesMax Size
	PartialMatchesMax          int
	AppsMax, PartitionsMax     int
}

// Raft identifies this checkpointer and the members of its group.
type Raft struct {
	ID     string
	Listen string // "" for a group of one
	Peers  string // id=host:port, with commas between; the same for all members
	// CA, Cert and Key are files: the authorities that sign the members' certificates,
	// and the certificate of this member, which has its ID, with its key. "" for
	// connections without TLS.
	CA, Cert, Key string
}

// Pprof says where developers take profiles of the process.
type Pprof struct {
	Listen string // of the HTTP server with Go's profiles, on the loopback interface; "" for none
}

// Metrics says where operators look at the process.
type Metrics struct {
	Listen string // of the HTTP server with metrics and health; "" for none
}

// Log holds the settings of the program's own log.
type Log struct {
	Level  slog.Level
	Format Format
}

// StoreURL returns the URL of the store of checkpoints: store.url, or the folder checkpoints in
// the data folder.
func (c *Config) StoreURL() string {
	if c.Store.URL != "" {
		return c.Store.URL
	}
	return "file:" + filepath.Join(c.Data, "checkpoints")
}

// Durability says when the log acknowledges what was appended to it.
type Durability string

// The durability profiles. Durable syncs before it acknowledges, Balanced syncs
// every 100 ms, Fast leaves it to the NATS server's default interval.
const (
	Durable  Durability = "durable"
	Balanced Durability = "balanced"
	Fast     Durability = "fast"
)

// Format is how the program's own log is written.
type Format string

// The log formats: for a person at a terminal, and one JSON object to a line.
const (
	Text Format = "text"
	JSON Format = "json"
)

// Default returns the configuration where nothing is set.
func Default() *Config {
	c, err := load(nil, "", nil)
	if err != nil {
		panic(err) // a default that its own check refuses
	}
	return c
}
