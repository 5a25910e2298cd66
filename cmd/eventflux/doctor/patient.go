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

	"eventflux/services/ingest"
	"eventflux/services/processor"
	"eventflux/shared/bus"
	"eventflux/shared/checkpoint"
	"eventflux/shared/control"
)

const askTimeout = 5 * time.Second

// patient is what is examined, and what is known of it before the checks.
type patient struct {
	Config
	js       jetstream.JetStream
	control  *control.Client
	findings []Finding

	services   []micro.Info
	processors []processorSays
	intakes    []intakeSays
	members    []memberSays
	apps       []control.App
	appsErr    error
	streams    map[string]*stream
}

// heard is when something was said, by the clock of who said it and by ours.
type heard struct {
	who      string
	theirs   time.Time
	from, to time.Time // ours, of asking and hearing
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

// stream is a JetStream stream of the product, as its leader tells.
type stream struct {
	heard
	config  jetstream.StreamConfig
	created time.Time
	state   jetstream.StreamState
	cluster *jetstream.ClusterInfo
}

// look asks everybody.
func (p *patient) look(ctx context.Context) (err error) {
	if p.services, err = bus.Services(ctx, p.Conn); err != nil {
		return err
	}
	if err := errors.Join(p.lookAtProcessors(ctx), p.lookAtIntakes(ctx), p.lookAtMembers(ctx)); err != nil {
		return err
	}
	p.lookAtApps(ctx)
	return p.lookAtStreams(ctx)
}

func (p *patient) lookAtApps(ctx context.Context) {
	if p.count(control.Service) == 0 {
		p.appsErr = errors.New("there is none")
		return // it would be waited for
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := p.control.Apps(ctx)
	p.apps, p.appsErr = list.Apps, err
}

func (p *patient) lookAtProcessors(ctx context.Context) error {
	from := time.Now()
	answers, err := bus.Answers(ctx, p.Conn, bus.ServiceSubject("processor", "tasks"), nil)
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

func (p *patient) lookAtIntakes(ctx context.Context) error {
	from := time.Now()
	answers, err := bus.Answers(ctx, p.Conn, "$SRV.STATS."+bus.ServiceName("ingest"), nil)
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

func (p *patient) lookAtMembers(ctx context.Context) error {
	for _, s := range p.services {
		id := s.Metadata["raft_id"]
		if s.Name != bus.ServiceName(control.Service) || id == "" {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, askTimeout)
		from := time.Now()
		m, err := p.Conn.RequestWithContext(limited, bus.ServiceSubject(control.Service, "node."+id+"."+control.VerbStatus), nil)
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

// lookAtStreams asks for all JetStream streams of the product, whose apps may be gone.
func (p *patient) lookAtStreams(ctx context.Context) error {
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
	for _, prefix := range []string{"EFW_", "EFO_", "EFD_", "KV_" + bus.ClusterBucket} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// lookAtStream returns nil for a stream that has gone, or does not answer.
func (p *patient) lookAtStream(ctx context.Context, name string) *stream {
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
func (p *patient) newest(ctx context.Context, app string) (*checkpoint.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := p.control.Checkpoint(ctx, control.CheckpointRequest{App: app})
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// count returns how many processes run a service.
func (p *patient) count(service string) (n int) {
	for _, s := range p.services {
		if s.Name == bus.ServiceName(service) {
			n++
		}
	}
	return n
}
