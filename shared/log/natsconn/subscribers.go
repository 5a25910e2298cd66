package natsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

// ErrSubscribersUnknown is returned when no server told who subscribes to what.
var ErrSubscribersUnknown = errors.New("the NATS server does not tell who subscribes to what")

const (
	connzSubject   = "$SYS.REQ.SERVER.PING.CONNZ"
	connzMax       = 100_000 // connections that a server is asked for
	connzBytesMax  = 64 << 20
	connzFirstWait = 2 * time.Second
)

// Subscriber is a client's subscription on core NATS.
type Subscriber struct {
	Server, Client, Account, Subject string
}

// SubscribersOverNATS asks all servers of the cluster, and returns the names of the servers
// that are up. A connection of the system account sees all accounts, any other only its own.
// Without permission to ask, the result is ErrSubscribersUnknown.
func SubscribersOverNATS(ctx context.Context, nc *nats.Conn) (all []Subscriber, servers []string, err error) {
	request := fmt.Appendf(nil, `{"subscriptions":true,"subscriptions_detail":true,"limit":%d}`, connzMax)
	err = gather(ctx, nc, connzSubject, request, connzFirstWait, jszStall, func(m *nats.Msg) error {
		var answer struct {
			Server struct {
				Name string `json:"name"`
			} `json:"server"`
			Data connz `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return fmt.Errorf("%w: answer: %w", ErrSubscribersUnknown, err)
		}
		servers = append(servers, answer.Server.Name)
		all = append(all, answer.Data.subscribers()...)
		return nil
	})
	if err == nil && len(servers) == 0 {
		err = fmt.Errorf("%w: %s has no answer on this connection", ErrSubscribersUnknown, connzSubject)
	}
	return all, servers, err
}

// SubscribersOverHTTP asks one server at the URL of its monitoring port.
func SubscribersOverHTTP(ctx context.Context, url string) ([]Subscriber, error) {
	fail := func(err error) ([]Subscriber, error) {
		return nil, fmt.Errorf("ask NATS at %s for subscriptions: %w", secret.URL(url), secret.Error(err))
	}
	body, err := monitored(ctx, url, fmt.Sprintf("/connz?subs=detail&limit=%d", connzMax), connzBytesMax, ErrSubscribersUnknown)
	if err != nil {
		return fail(err)
	}
	var c connz
	if err := json.Unmarshal(body, &c); err != nil {
		return fail(fmt.Errorf("%w: answer: %w", ErrSubscribersUnknown, err))
	}
	return c.subscribers(), nil
}

// connz is a server's report of its connections. It leaves out the server's internal clients,
// which JetStream uses to receive messages.
type connz struct {
	ID    string `json:"server_id"`
	Conns []struct {
		CID  uint64 `json:"cid"`
		Name string `json:"name"`
		IP   string `json:"ip"`
		Subs []struct {
			Account string `json:"account"`
			Subject string `json:"subject"`
		} `json:"subscriptions_list_detail"`
	} `json:"connections"`
}

func (c *connz) subscribers() (all []Subscriber) {
	for _, conn := range c.Conns {
		client := fmt.Sprintf("connection %d", conn.CID)
		if conn.Name != "" {
			client += fmt.Sprintf(" %q", conn.Name)
		}
		if conn.IP != "" {
			client += " from " + conn.IP
		}
		for _, s := range conn.Subs {
			all = append(all, Subscriber{Server: c.ID, Client: client, Account: s.Account, Subject: s.Subject})
		}
	}
	return all
}
