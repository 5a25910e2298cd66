package control

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// FlowSubject is the core NATS subject where processors publish FlowReports; every ingest
// subscribes to it. A lost report does no harm: the next one has all the data again.
const FlowSubject = "ef.ingest.flow"

const (
	// FlowEvery is how often a processor publishes changes, and FlowRepeat how often it
	// repeats the rest.
	FlowEvery  = 100 * time.Millisecond
	FlowRepeat = time.Second
	// FlowSilence is how long a report is valid. After that, the state of the task is unknown,
	// and ingest does not refuse events because of it.
	FlowSilence = 10 * time.Second

	flowTasksMax = 1000 // in one message

	lagMost = 10 * 365 * 24 * time.Hour // far from where a time.Duration overflows
)

// FlowReport is the progress of a processor's tasks.
type FlowReport struct {
	Processor string `json:"processor,omitempty"`
	Tasks     []Flow `json:"tasks"`
}

// Flow is the progress of a partition's task in its log, and whether it can accept more.
type Flow struct {
	App       string `json:"app"`
	Partition uint32 `json:"partition"`
	// Applied is the log sequence of the newest frame applied, and LogEnd the log's last
	// sequence as far as the task knows.
	Applied uint64 `json:"applied"`
	LogEnd  uint64 `json:"log_end"`
	// EventTime is the recent cost of an event to the task, in ns. It includes the wait for
	// the output stream. FrameEvents is how many events a frame had recently.
	EventTime   time.Duration `json:"event_ns"`
	FrameEvents float64       `json:"frame_events"`
	// Busy is how long the task has been applying the frame after Applied, in ns.
	Busy time.Duration `json:"busy_ns,omitempty"`
	// Results is how long the results that wait for the output stream take, in ns. It is at
	// least as long as the oldest of them has waited.
	Results time.Duration `json:"results_ns,omitempty"`
	// StateBytes estimates the memory of the task's state.
	StateBytes int64 `json:"state_bytes"`
	// Over says which limit the task exceeds, so that it accepts no events; empty if it
	// exceeds none.
	Over string `json:"over,omitempty"`
}

// Waiting estimates how many events the log holds up to a sequence that are not applied.
func (f *Flow) Waiting(end uint64) float64 {
	end = max(end, f.LogEnd)
	return float64(end-min(f.Applied, end)) * f.FrameEvents
}

// Lag is how long the task needs for so many events, at its recent pace, and for the results
// that wait.
func (f *Flow) Lag(events float64) time.Duration {
	return time.Duration(min(events*float64(f.EventTime), float64(lagMost))) + f.Busy + f.Results
}

// PublishFlow publishes a report, in several messages if it has many tasks.
func PublishFlow(nc *nats.Conn, r FlowReport) error {
	for tasks := r.Tasks; len(tasks) > 0; tasks = tasks[min(len(tasks), flowTasksMax):] {
		r.Tasks = tasks[:min(len(tasks), flowTasksMax)]
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if err := nc.Publish(FlowSubject, data); err != nil {
			return fmt.Errorf("publish flow report: %w", err)
		}
	}
	return nil
}

// SubscribeFlow calls hear for each task of each report, from one goroutine.
func SubscribeFlow(nc *nats.Conn, hear func(Flow)) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(FlowSubject, func(m *nats.Msg) {
		var r FlowReport
		if json.Unmarshal(m.Data, &r) != nil {
			return // ignore a malformed report: its sender could as well be silent
		}
		for _, f := range r.Tasks {
			hear(f)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to flow reports: %w", err)
	}
	return sub, nil
}
