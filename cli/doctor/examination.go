package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/services/ingest"
	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const askTimeout = 5 * time.Second

// examination is the system under examination, with the data that is requested before the checks.
type examination struct {
	Config
	js       jetstream.JetStream
	control  *control.Client
	findings []Finding

	services   []micro.Info
	processors []processorSays
	intakes    []intakeSays
	members    []memberSays
	stores     []control.StoreReport
	apps       []control.App
	appsErr    error
	streams    map[string]*stream

	servers     []string // names of the known NATS servers: those seen, and those that streams are on
	serversTold bool     // servers are all that are up
	subscribers []natsconn.Subscriber
	unheard     string // the NATS servers whose subscribers are unknown; "" for none
}

// heard is the time of a service's answer, by its own clock and by ours.
type heard struct {
	who      string
	theirs   time.Time
	from, to time.Time // ours, when asked and when answered
}

type processorSays struct {
	heard
	tasks []processor.TaskInfo
}

type intakeSays struct {
	heard
	info ingest.Info
}

type memberSays struct {
	heard
	status control.Status
}

// stream is a JetStream stream of the product, as its leader reports it.
type stream struct {
	heard
	config  jetstream.StreamConfig
	created time.Time
	state   jetstream.StreamState
	cluster *jetstream.ClusterInfo
}

// look asks every service and server.
func (p *examination) look(ctx context.Context) (err error) {
	if p.services, err = natsconn.Services(ctx, p.Conn); err != nil {
		return err
	}
	if err := errors.Join(p.lookAtProcessors(ctx), p.lookAtIntakes(ctx), p.lookAtMembers(ctx), p.lookAtStores(ctx)); err != nil {
		return err
	}
	p.lookAtApps(ctx)
	if err := p.lookAtStreams(ctx); err != nil {
		return err
	}
	return p.lookAtServers(ctx)
}

// lookAtServers finds the NATS servers, as far as this connection can learn them. INFO and the
// configured URLs may not name all: a server can be set not to be advertised.
func (p *examination) lookAtServers(ctx context.Context) (err error) {
	p.servers = append(p.servers, p.Conn.ConnectedServerName())
	for _, s := range p.streams {
		if s.cluster == nil {
			continue
		}
		p.servers = append(p.servers, s.cluster.Leader)
		for _, replica := range s.cluster.Replicas {
			p.servers = append(p.servers, replica.Name)
		}
	}
	var names []string
	p.subscribers, names, err = natsconn.SubscribersOverNATS(ctx, p.Conn)
	p.serversTold = err == nil
	p.servers = append(p.servers, names...)
	slices.Sort(p.servers)
	p.servers = slices.DeleteFunc(slices.Compact(p.servers), func(name string) bool { return name == "" })
	if !errors.Is(err, natsconn.ErrSubscribersUnknown) {
		return err
	}
	told := overHTTP(ctx, p, natsconn.SubscribersOverHTTP)
	p.subscribers, p.unheard = slices.Concat(told...), p.others(len(told))
	return nil
}

// overHTTP asks the servers with configured monitoring ports, and returns the answers that
// arrive.
func overHTTP[T any](ctx context.Context, p *examination, ask func(context.Context, string) (T, error)) (told []T) {
	for url := range strings.SplitSeq(p.Settings.NATS.Monitor, ",") {
		if url == "" {
			continue // none is configured
		}
		limited, cancel := context.WithTimeout(ctx, askTimeout)
		if answer, err := ask(limited, url); err == nil {
			told = append(told, answer)
		}
		cancel()
	}
	return told
}

// others names the servers that are left when some have answered at their monitoring ports; ""
// for none.
func (p *examination) others(answered int) string {
	switch of := len(p.servers); {
	case answered == 0:
		return "any NATS server"
	case answered < of:
		return fmt.Sprintf("%d of %d NATS servers", of-answered, of)
	}
	return ""
}

// beyond adds to a finding that there may be servers that this connection does not know.
func (p *examination) beyond() string {
	if p.serversTold || p.Conn.ConnectedClusterName() == "" {
		return ""
	}
	return "; whether the cluster has more servers is unknown"
}

func (p *examination) lookAtApps(ctx context.Context) {
	if p.count(control.Service) == 0 {
		p.appsErr = errors.New("there is none")
		return // a request would only time out
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := p.control.Apps(ctx)
	p.apps, p.appsErr = list.Apps, err
}

func (p *examination) lookAtProcessors(ctx context.Context) error {
	from := time.Now()
	answers, err := natsconn.Answers(ctx, p.Conn, natsconn.ServiceSubject("processor", "tasks"), nil)
	if err != nil {
		return err
	}
	for _, m := range answers {
		var says struct {
			Processor string               `json:"processor"`
			Time      time.Time            `json:"time"`
			Tasks     []processor.TaskInfo `json:"tasks"`
		}
		if json.Unmarshal(m.Data, &says) == nil {
			p.processors = append(p.processors, processorSays{heard{"processor " + says.Processor, says.Time, from, time.Now()}, says.Tasks})
		}
	}
	return nil
}

func (p *examination) lookAtIntakes(ctx context.Context) error {
	from := time.Now()
	answers, err := natsconn.Answers(ctx, p.Conn, "$SRV.STATS."+natsconn.ServiceName("ingest"), nil)
	if err != nil {
		return err
	}
	for _, m := range answers {
		var says micro.Stats
		if json.Unmarshal(m.Data, &says) != nil || len(says.Endpoints) == 0 {
			continue
		}
		one := intakeSays{heard: heard{who: "ingest " + says.ID, from: from, to: time.Now()}}
		if json.Unmarshal(says.Endpoints[0].Data, &one.info) == nil {
			one.theirs = one.info.Time
			p.intakes = append(p.intakes, one)
		}
	}
	return nil
}

// lookAtStores asks every process which store it uses.
func (p *examination) lookAtStores(ctx context.Context) error {
	answers, err := natsconn.Answers(ctx, p.Conn, control.StoreSubject(), nil)
	for _, m := range answers {
		var says control.StoreReport
		if json.Unmarshal(m.Data, &says) == nil {
			p.stores = append(p.stores, says)
		}
	}
	slices.SortFunc(p.stores, func(a, b control.StoreReport) int { return strings.Compare(a.Name(), b.Name()) })
	return err
}

func (p *examination) lookAtMembers(ctx context.Context) error {
	for _, s := range p.services {
		id := s.Metadata["raft_id"]
		if s.Name != natsconn.ServiceName(control.Service) || id == "" {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, askTimeout)
		from := time.Now()
		m, err := p.Conn.RequestWithContext(limited, natsconn.ServiceSubject(control.Service, "node."+id+"."+control.VerbStatus), nil)
		cancel()
		if err != nil {
			continue // checkLeader says who is missing
		}
		one := memberSays{heard: heard{who: "checkpointer " + id, from: from, to: time.Now()}}
		if json.Unmarshal(m.Data, &one.status) == nil {
			one.theirs = one.status.Time
			p.members = append(p.members, one)
		}
	}
	return nil
}

// lookAtStreams asks for all JetStream streams of the product, including those of removed
// apps.
func (p *examination) lookAtStreams(ctx context.Context) error {
	p.streams = map[string]*stream{}
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var names []string
	list := p.js.StreamNames(limited)
	for name := range list.Name() {
		if isOurs(name) {
			names = append(names, name)
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
			return nil // checkServer says so
		}
		return fmt.Errorf("list JetStream streams: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if s := p.lookAtStream(ctx, name); s != nil {
			p.streams[name] = s
		}
	}
	return nil
}

func isOurs(name string) bool {
	for _, prefix := range []string{"EFW_", "EFO_", "EFD_", "KV_" + natsconn.ClusterBucket, "KV_" + natsconn.LinksBucket} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// lookAtStream returns nil if the stream is gone or does not answer.
func (p *examination) lookAtStream(ctx context.Context, name string) *stream {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	from := time.Now()
	m, err := p.Conn.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.INFO."+name, nil)
	if err != nil {
		return nil
	}
	var says struct {
		jetstream.StreamInfo
		Time  time.Time           `json:"ts"`
		Error *jetstream.APIError `json:"error"`
	}
	if json.Unmarshal(m.Data, &says) != nil || says.Error != nil {
		return nil
	}
	who := "NATS server"
	if says.Cluster != nil && says.Cluster.Leader != "" {
		who += " " + says.Cluster.Leader
	}
	return &stream{
		heard:  heard{who, says.Time, from, time.Now()},
		config: says.Config, created: says.Created, state: says.State, cluster: says.Cluster,
	}
}

// newest returns the manifest of an app's newest checkpoint.
func (p *examination) newest(ctx context.Context, app string) (*checkpoint.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := p.control.Checkpoint(ctx, control.CheckpointRequest{App: app})
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// fix returns the advice for the mode that runs: one process with its own NATS server, or a
// cluster of services.
func (p *examination) fix(single, cluster string) string {
	if p.embedded() {
		return single
	}
	return cluster
}

// count returns how many processes run a service.
func (p *examination) count(service string) (n int) {
	for _, s := range p.services {
		if s.Name == natsconn.ServiceName(service) {
			n++
		}
	}
	return n
}
