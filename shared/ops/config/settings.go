package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"github.com/eventflux/eventflux/shared/ops/secret"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

// setting is one row of the table of settings.
type setting struct {
	name string // as in YAML and as a flag; "a.b_c" is EVENTFLUX_A_B_C in the environment
	def  string
	unit string // "" where the value is no quantity
	// alone is the value of a flag that has none; "" where a flag needs one.
	alone string
	doc   string
	// set checks text and stores its value. The caller adds the name to the error.
	set func(text string) error
	// get returns the stored value as set accepts it.
	get func() string
}

// Sizes that one event may be limited to. The largest still fits into a frame of
// the log, which has 4 MiB at most.
const (
	eventBytesMin Size = 1 << 10
	eventBytesMax Size = 3 << 20
	memoryMin     Size = 1 << 20
)

// settings returns the table, bound to the fields of c. This is the only place
// that names a setting.
func settings(c *Config) []setting {
	return []setting{
		stringRow("data", "data", "folder that holds everything durable", &c.Data, notEmpty),
		sizeRow("disk.reserve", 256<<20, "free disk space reserved for results and checkpoints: below it, the embedded NATS server refuses events; 0 for none",
			&c.Disk.Reserve, anySize),
		stringRow("listen", "127.0.0.1:4222", "address of the embedded NATS server", &c.Listen, hostPort),
		switchRow("insecure", "whether the embedded NATS server may listen beyond this machine without authentication: on or off", &c.Insecure),
		stringRow("server.user", "", "user that may connect to the embedded NATS server; empty for none", &c.Server.User, anyText),
		stringRow("server.password_file", "", "file with the password of server.user", &c.Server.PasswordFile, anyText),
		stringRow("server.nkeys", "", "public nkeys of users that may connect to the embedded NATS server, separated by commas", &c.Server.NKeys, anyText),
		stringRow("server.cert", "", "file with the certificate of the embedded NATS server, which then requires TLS; empty for none", &c.Server.Cert, anyText),
		stringRow("server.key", "", "file with the key of server.cert", &c.Server.Key, anyText),
		stringRow("server.ca", "", "file with the authorities of clients' certificates: the embedded NATS server then requires a client certificate; empty for none", &c.Server.CA, anyText),
		stringRow("nats.url", "", "NATS server to use; empty for the embedded one", &c.NATS.URL, natsURL),
		stringRow("nats.monitor", "", "monitoring URLs of its servers, separated by commas, such as http://host:8222, to check how they sync", &c.NATS.Monitor, httpURLs),
		stringRow("nats.ca", "", "file with the authorities that sign the certificates of NATS servers; empty for those of the system", &c.NATS.CA, anyText),
		stringRow("nats.cert", "", "file with this client's certificate for NATS; empty for none", &c.NATS.Cert, anyText),
		stringRow("nats.key", "", "file with the key of nats.cert", &c.NATS.Key, anyText),
		stringRow("nats.user", "", "user of this client of NATS; empty for none", &c.NATS.User, anyText),
		stringRow("nats.password_file", "", "file with the password of nats.user", &c.NATS.PasswordFile, anyText),
		stringRow("nats.nkey", "", "file with the seed of this user's nkey; empty for none", &c.NATS.NKey, anyText),
		stringRow("nats.creds", "", "file with the JWT and key of this user (.creds); empty for none", &c.NATS.Creds, anyText),
		stringRow("nats.token_file", "", "file with the token of this client of NATS; empty for none", &c.NATS.TokenFile, anyText),
		stringRow("nats.context", "", "context of the NATS command line, by name or file: its server and user apply unless other settings override them; empty for none", &c.NATS.Context, anyText),
		stringRow("nats.inbox", "", "prefix of the subjects where this user gets answers; empty for _INBOX", &c.NATS.Inbox, inboxPrefix),
		among(countRow("nats.replicas", 1, 1, "replicas of each JetStream stream, set by the checkpointer: 1, 3 or 5", &c.NATS.Replicas), "1", "3", "5"),
		stringRow("wal.durability", string(Durable), "when an append counts as durable: durable (synced), balanced (synced every 100 ms) or fast (the server's interval)",
			&c.WAL.Durability, oneOf(Durable, Balanced, Fast)),
		sizeRow("wal.bytes_max", 0, "maximum size of the log of one partition, set by the checkpointer; 0 for no limit",
			&c.WAL.BytesMax, anySize),
		sizeRow("ingest.event_bytes_max", 1<<20, "largest event that is accepted",
			&c.Ingest.EventBytesMax, sizeBetween(eventBytesMin, eventBytesMax)),
		sizeRow("ingest.memory_max", 64<<20, "total size of the events that may wait until they are durable",
			&c.Ingest.MemoryMax, sizeAtLeast(memoryMin)),
		durationRow("ingest.lag_max", 10*time.Second, "how far a task may lag, as the time it needs for accepted events that it has not applied; beyond that, events for it are refused until it has caught up",
			&c.Ingest.LagMax),
		durationRow("dedup.window", 2*time.Minute, "how long a message id is remembered, in log time, by apps that are deployed from now on", &c.Dedup.Window),
		countRow("limits.event_rows_max", 1_000_000, 1, "rows of all queries together that may follow from one event, in apps that are deployed from now on; more halts the app", &c.Limits.EventRowsMax),
		countRow("limits.frame_rows_max", 16_000_000, 1, "rows that may follow from one frame of the log, likewise", &c.Limits.FrameRowsMax),
		sizeRow("limits.frame_bytes_max", 1<<30, "memory that those rows may take, likewise", &c.Limits.FrameBytesMax, sizeBetween(memoryMin, 3<<30)),
		sizeRow("limits.key_bytes_max", 4<<10, "longest text that may be a key of a partition, a group, a session or distinctCount, likewise; a longer one is refused to its publisher", &c.Limits.KeyBytesMax, sizeBetween(1, 1<<20)),
		countRow("limits.partial_matches_max", 1_000_000, 1, "partial matches of patterns that a task may hold; beyond that, events for it are refused", &c.Limits.PartialMatchesMax),
		countRow("limits.apps_max", 1000, 1, "apps that may be deployed", &c.Limits.AppsMax),
		countRow("limits.partitions_max", 1024, 1, "partitions that an app may have when it is deployed", &c.Limits.PartitionsMax),
		durationRow("checkpoint.interval", 10*time.Second, "time from one checkpoint of an app to the next", &c.Checkpoint.Interval),
		durationRow("checkpoint.timeout", time.Minute, "time after which an incomplete checkpoint is aborted", &c.Checkpoint.Timeout),
		countRow("checkpoint.full_every", 10, 1, "incremental checkpoints in a row before a full one", &c.Checkpoint.FullEvery),
		stringRow("store.url", "", "where checkpoints are kept: "+stores.Forms+"; empty for the folder checkpoints in data",
			&c.Store.URL, emptyOr(stores.Check)),
		stringRow("store.codec", "auto", "how checkpoints are compressed: none, lz4, snappy, zstd or auto",
			&c.Store.Codec, oneOf[string]("none", "lz4", "snappy", "zstd", "auto")),
		countRow("retention.checkpoints", 5, 1, "number of an app's newest checkpoints that are kept, with the log after them", &c.Retention.Checkpoints),
		durationRow("retention.span", 10*time.Minute, "how long all checkpoints are kept, and the log after them", &c.Retention.Span),
		durationRow("merger.interval", 10*time.Second, "how often all apps are checked for chains to merge, in addition to after each checkpoint", &c.Merger.Interval),
		countRow("merger.chain_max", 4, 1, "number of incremental checkpoints after a full one before they are merged into it", &c.Merger.ChainMax),
		ratioRow("merger.delta_ratio", 0.5, "size of those, relative to the full one, before they are merged into it", &c.Merger.DeltaRatio),
		countRow("recovery.workers", 0, 0, "blocks of a checkpoint that are fetched or stored at once; 0 for the number of cores, and for 16 where a processor uses a store over the network", &c.Recovery.Workers),
		countRow("recovery.shadow_rate", 100_000, 0, "events per second that a shadow of an app applies while it catches up with the log; 0 for no limit", &c.Recovery.ShadowRate),
		stringRow("processor.id", "", "name of this processor in the cluster, which must stay the same over restarts; empty for the host name", &c.Processor.ID, anyText),
		stringRow("processor.standby", "off", "whether a second processor is kept ready for each partition, set at the checkpointer: on or off",
			&c.Processor.Standby, oneOf("on", "off")),
		sizeRow("processor.state_bytes_max", 2<<30, "limit for the estimated memory of one partition's state: above it, events for the partition are refused; 0 for no limit",
			&c.Processor.StateBytesMax, anySize),
		stringRow("raft.id", "", "name of this checkpointer in its group; empty in a group of one", &c.Raft.ID, anyText),
		stringRow("raft.listen", "", "address for the other checkpointers; empty in a group of one", &c.Raft.Listen, emptyOr(hostPort)),
		stringRow("raft.peers", "", "all checkpointers of the group, as id=host:port separated by commas; empty for a group of one", &c.Raft.Peers, raftPeers),
		stringRow("raft.ca", "", "file with the authorities that sign the certificates of checkpointers; empty for no TLS", &c.Raft.CA, anyText),
		stringRow("raft.cert", "", "file with the certificate of this checkpointer, issued for its raft.id", &c.Raft.Cert, anyText),
		stringRow("raft.key", "", "file with the key of raft.cert", &c.Raft.Key, anyText),
		stringRow("metrics.listen", "", "address for /metrics, /healthz and /readyz over HTTP; empty for none", &c.Metrics.Listen, emptyOr(hostPort)),
		stringRow("pprof.listen", "", "loopback address for Go's profiles at /debug/pprof/ over HTTP; empty for none", &c.Pprof.Listen, emptyOr(loopback)),
		levelRow("log.level", slog.LevelInfo, "lowest level that is logged: debug, info, warn or error", &c.Log.Level),
		stringRow("log.format", string(Text), "text for people, json for programs", &c.Log.Format, oneOf(Text, JSON)),
	}
}

func httpURLs(text string) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		if u, err := url.Parse(part); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%q is no URL of a monitoring port, such as http://host:8222", secret.URL(part))
		}
	}
	return nil
}

// inboxPrefix takes what the client library does, and no white space besides.
func inboxPrefix(text string) error {
	if strings.ContainsAny(text, "*> \t\r\n") || strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".") || strings.Contains(text, "..") {
		return fmt.Errorf("%q is no subject; write tokens with dots between, such as EF_INBOX.ingest", text)
	}
	return nil
}

func stringRow[T ~string](name, def, doc string, to *T, check func(string) error) setting {
	return setting{
		name: name, def: def, doc: doc,
		set: func(text string) error {
			if err := check(text); err != nil {
				return err
			}
			*to = T(text)
			return nil
		},
		get: func() string { return string(*to) },
	}
}

func sizeRow(name string, def Size, doc string, to *Size, check func(Size) error) setting {
	return setting{
		name: name, def: def.String(), unit: "bytes", doc: doc,
		set: func(text string) error {
			n, err := ParseSize(text)
			if err != nil {
				return err
			}
			if err := check(n); err != nil {
				return err
			}
			*to = n
			return nil
		},
		get: func() string { return to.String() },
	}
}

func countRow(name string, def, low int, doc string, to *int) setting {
	return setting{
		name: name, def: strconv.Itoa(def), unit: "count", doc: doc,
		set: func(text string) error {
			n, err := strconv.Atoi(text)
			if err != nil || n < low {
				return fmt.Errorf("%q is no whole number of %d or more", text, low)
			}
			*to = n
			return nil
		},
		get: func() string { return strconv.Itoa(*to) },
	}
}

// among narrows the values that a row takes.
func among(row setting, allowed ...string) setting {
	set, check := row.set, oneOf[string](allowed...)
	row.set = func(text string) error {
		if err := check(text); err != nil {
			return err
		}
		return set(text)
	}
	return row
}

// switchRow is on or off. As a flag, its name alone means on.
func switchRow(name, doc string, to *bool) setting {
	return setting{
		name: name, def: "off", alone: "on", doc: doc,
		set: func(text string) error {
			if err := oneOf("on", "off")(text); err != nil {
				return err
			}
			*to = text == "on"
			return nil
		},
		get: func() string {
			if *to {
				return "on"
			}
			return "off"
		},
	}
}

func ratioRow(name string, def float64, doc string, to *float64) setting {
	text := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	return setting{
		name: name, def: text(def), unit: "ratio", doc: doc,
		set: func(from string) error {
			f, err := strconv.ParseFloat(from, 64)
			if err != nil || !(f > 0) || math.IsInf(f, 0) {
				return fmt.Errorf("%q is no number greater than 0, such as 0.5", from)
			}
			*to = f
			return nil
		},
		get: func() string { return text(*to) },
	}
}

func durationRow(name string, def time.Duration, doc string, to *time.Duration) setting {
	return setting{
		name: name, def: durationText(def), unit: "duration", doc: doc,
		set: func(text string) error {
			d, err := time.ParseDuration(text)
			switch {
			case err != nil:
				return fmt.Errorf("%q is no duration; write a number and a unit, such as 90s or 2m", text)
			case d < time.Millisecond || d%time.Millisecond != 0:
				return fmt.Errorf("%s is not a whole, positive number of milliseconds", text)
			}
			*to = d
			return nil
		},
		get: func() string { return durationText(*to) },
	}
}

func levelRow(name string, def slog.Level, doc string, to *slog.Level) setting {
	return setting{
		name: name, def: strings.ToLower(def.String()), doc: doc,
		set: func(text string) error {
			levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
			for _, l := range levels {
				if strings.EqualFold(l.String(), text) {
					*to = l
					return nil
				}
			}
			return fmt.Errorf("%q is not one of debug, info, warn, error", text)
		},
		get: func() string { return strings.ToLower(to.String()) },
	}
}

func anyText(string) error { return nil }

func emptyOr(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "" {
			return nil
		}
		return check(text)
	}
}

// raftPeers reads id=host:port with commas between.
func raftPeers(text string) error {
	if text == "" {
		return nil
	}
	ids := map[string]bool{}
	for peer := range strings.SplitSeq(text, ",") {
		id, addr, ok := strings.Cut(peer, "=")
		if !ok || id == "" {
			return fmt.Errorf("%q is not id=host:port", peer)
		}
		if ids[id] {
			return fmt.Errorf("two peers are called %s", id)
		}
		ids[id] = true
		if err := hostPort(addr); err != nil {
			return err
		}
	}
	return nil
}

func notEmpty(text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	return nil
}

func hostPort(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT, such as 127.0.0.1:4222 or :4222", text)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port between 0 and 65535 (0: any free one)", text)
	}
	return nil
}

// loopback reads an address that other machines cannot reach.
func loopback(text string) error {
	if err := hostPort(text); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(text)
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not on the loopback interface, such as 127.0.0.1:6060: profiles show what is in memory to everyone who asks", text)
	}
	return nil
}

func natsURL(text string) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(part)
		if err != nil {
			// The parser's own error repeats the text, and a password with it.
			return errors.New("is no URL; write nats://HOST:PORT")
		}
		if u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return fmt.Errorf("%q is not nats://HOST:PORT (or tls, ws, wss)", secret.URL(part))
		}
	}
	return nil
}

func oneOf[T ~string](allowed ...T) func(string) error {
	return func(text string) error {
		if slices.Contains(allowed, T(text)) {
			return nil
		}
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		return fmt.Errorf("%q is not one of %s%s", text, strings.Join(names, ", "), suggest(text, names))
	}
}

func anySize(Size) error { return nil }

func sizeAtLeast(low Size) func(Size) error {
	return func(n Size) error {
		if n < low {
			return fmt.Errorf("%s is less than %s", n, low)
		}
		return nil
	}
}

func sizeBetween(low, high Size) func(Size) error {
	return func(n Size) error {
		if n < low || n > high {
			return fmt.Errorf("%s is not between %s and %s", n, low, high)
		}
		return nil
	}
}

// suggest returns ", did you mean …?" where one of names is close to name.
func suggest(name string, names []string) string {
	best, distance := "", len(name)/3+2
	for _, n := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(n)); d < distance {
			best, distance = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %s?", best)
}

// durationText writes 2m as "2m" and not as "2m0s".
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
