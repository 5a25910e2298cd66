package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// access returns the settings that decide who may connect to the embedded server.
func access(cfg *config.Config) natsconn.Access {
	s := cfg.Server
	a := natsconn.Access{User: s.User, PasswordFile: s.PasswordFile, CertFile: s.Cert, KeyFile: s.Key, CAFile: s.CA}
	for key := range strings.SplitSeq(s.NKeys, ",") {
		if key = strings.TrimSpace(key); key != "" {
			a.NKeys = append(a.NKeys, key)
		}
	}
	return a
}

// checkAccess refuses an embedded server that strangers could use, and settings without effect.
func checkAccess(cfg *config.Config) error {
	if cfg.NATS.URL != "" {
		if cfg.Server != (config.Server{}) || cfg.Insecure {
			return errors.New("server.user, server.password_file, server.nkeys, server.cert, server.key, server.ca and insecure are for the embedded NATS server, and nats.url names another one; remove one or the other")
		}
		return nil
	}
	a := access(cfg)
	if a.Authenticates() || cfg.Insecure || !natsconn.ReachesBeyond(cfg.Listen) {
		return nil
	}
	return fmt.Errorf("listen is %s, and any client that reaches that address could read and delete everything: set server.user and server.password_file, or server.nkeys, or server.cert, server.key and server.ca; or listen on 127.0.0.1. --insecure starts without", cfg.Listen)
}

// warnOfAccess logs weaknesses of an embedded server that other machines can reach.
func (n *Node) warnOfAccess() {
	a := access(n.cfg)
	switch {
	case !natsconn.ReachesBeyond(n.cfg.Listen):
	case !a.Authenticates():
		n.log.Warn("the NATS server has no authentication: any client that reaches it may read and delete everything (insecure is on)", "listen", n.cfg.Listen)
	case a.CertFile == "":
		n.log.Warn("the NATS server has no TLS: events, results and passwords cross the network in plain text; set server.cert and server.key", "listen", n.cfg.Listen)
	}
}
