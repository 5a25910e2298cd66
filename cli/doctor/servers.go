package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const (
	natsVersionMin  = "2.12.0" // the first that accepts several results as one batch
	natsVersionGood = "2.15.0" // the first that syncs a batch once
	payloadBytesMin = 1 << 20
	usedWarning     = 0.8
	usedError       = 0.95
)

const monitorFix = "name the monitoring ports of all servers with --nats.monitor http://HOST:8222,http://HOST:8222"

func (p *examination) checkServer(ctx context.Context, r *report) {
	version := p.Conn.ConnectedServerVersion()
	url := p.Conn.ConnectedUrlRedacted()
	if v, err := semver.NewVersion(version); err == nil {
		switch {
		case v.LessThan(semver.MustParse(natsVersionMin)):
			r.add(Error, url, "upgrade the NATS servers to 2.15 or later", "NATS is %s, and results need %s: tasks cannot put them out", version, natsVersionMin)
		case v.LessThan(semver.MustParse(natsVersionGood)):
			r.add(Warning, url, "upgrade the NATS servers to 2.15 or later", "NATS is %s: before %s it syncs every result of a batch by itself, which is slow", version, natsVersionGood)
		}
	}
	if n := p.Conn.MaxPayload(); n < payloadBytesMin {
		r.add(Error, url, `set max_payload: 1MB or more in the configuration of the servers, and reload them`, "NATS takes messages of %d bytes, and frames of the log may have %d", n, payloadBytesMin)
	}
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	account, err := p.js.AccountInfo(limited)
	if err != nil {
		r.add(Error, url, p.fix("restart eventflux run: its log says why JetStream is off, most often a disk without room",
			"switch JetStream on: jetstream { store_dir: … } in the configuration of the servers, and for the account"), "JetStream does not answer: %v; there is no log without it", err)
		return
	}
	if most := account.Limits.MaxStore; most > 0 {
		used := float64(account.Store) / float64(most)
		severity := Warning
		if used > usedError {
			severity = Error
		}
		if used > usedWarning {
			r.add(severity, url, "raise the account's max_store, or keep less: retention.span, retention.checkpoints, and max_age of the EFO_ streams",
				"%.0f %% of JetStream's store are used; at 100 %% every log refuses events", 100*used)
		}
	}
	r.fine(url, "NATS %s, JetStream is on%s", version, p.cluster())
}

// cluster describes what is known about the other NATS servers.
func (p *examination) cluster() string {
	name, servers := p.Conn.ConnectedClusterName(), strings.Join(p.servers, ", ")
	switch {
	case name == "":
		return ""
	case p.serversTold:
		return fmt.Sprintf(", in cluster %s of %d servers: %s", name, len(p.servers), servers)
	}
	return fmt.Sprintf(", in cluster %s. This connection is not told which servers that has; seen are %s", name, servers)
}

// checkSync checks whether an acknowledgement means what wal.durability promises.
func (p *examination) checkSync(ctx context.Context, r *report) {
	profile, err := natsconn.ParseDurability(string(p.Settings.WAL.Durability))
	if err != nil {
		r.add(Error, "wal.durability", "set it to durable, balanced or fast", "%v", err)
		return
	}
	if profile == natsconn.Fast {
		r.add(Warning, "wal.durability", "set wal.durability to durable, and jetstream { sync_interval: always } on the servers, if that matters",
			"it is fast: a power loss takes up to two minutes of acknowledged events")
		return
	}
	servers, err := natsconn.SyncOverNATS(ctx, p.Conn)
	unheard := ""
	if err != nil {
		servers = overHTTP(ctx, p, natsconn.SyncOverHTTP)
		unheard = p.others(len(servers))
	}
	if err := natsconn.CheckSync(profile, servers); err != nil {
		r.add(Error, "NATS", `set jetstream { sync_interval: always } in the configuration of every server, and restart one after the other`,
			"%v. Until then a power loss takes events that were acknowledged", err)
	}
	switch {
	case unheard != "" && p.embedded():
		r.fine("NATS", "the server is built in, and syncs as the service's profile says")
	case unheard != "":
		r.add(Unknown, "NATS", monitorFix, "whether a server syncs before it acknowledges is not told to ordinary clients, and was not told at a monitoring port by %s", unheard)
	}
	r.fine("NATS", "%d servers were asked and sync as %s demands%s", len(servers), profile, p.beyond())
}

// embedded reports whether the NATS server is built into a service. Until that service
// answers, the server's name tells.
func (p *examination) embedded() bool {
	if p.Conn.ConnectedServerName() == natsconn.EmbeddedName {
		return true
	}
	for _, s := range p.services {
		if s.Metadata["nats"] == "embedded" {
			return true
		}
	}
	return false
}

// checkSubscribers looks for clients that read logs on core NATS: each gets every frame, and
// if one answers, it acknowledges frames that are not in the log.
func (p *examination) checkSubscribers(_ context.Context, r *report) {
	for _, s := range p.subscribers {
		if overlaps(s.Subject, "ef.wal.>") && s.Subject != ">" || overlaps(s.Subject, "ef.fence.>") && s.Subject != ">" {
			r.add(Error, s.Client, p.fix("end that client: any client with access may read and write everything",
				"end that client, and allow ef.wal.> and ef.fence.> to the services alone (permissions of the NATS users)"),
				"it subscribes to %s on core NATS: it gets every frame as it is published, and an answer from it would count as the log's. Read logs by JetStream", s.Subject)
		}
		if s.Subject == ">" {
			r.add(Warning, s.Client, "end that client, or have it subscribe to what it needs",
				"it subscribes to everything, including the frames of all logs")
		}
	}
	if p.unheard != "" {
		r.add(Unknown, "ef.wal.>", "let this user publish to $SYS.REQ.SERVER.PING.CONNZ, or "+monitorFix,
			"the subscribers to the logs on core NATS are unknown: no answer from %s", p.unheard)
	}
	r.fine("ef.wal.>", "no client subscribes to a log on core NATS%s", p.beyond())
}

// isDefault reports whether a setting has its default.
func (p *examination) isDefault(name string) bool {
	for _, s := range p.Settings.Settings() {
		if s.Name == name {
			return s.Source == config.FromDefault
		}
	}
	return true
}
