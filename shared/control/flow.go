package control

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// FlowSubject is where processors publish FlowReports on core NATS, which every ingest
// hears. A report that is lost is no loss: the next one says it all again.
const FlowSubject = "ef.ingest.flow"

const (
	// FlowEvery is how often a processor publishes what has changed, and FlowRepeat how
	// often what has not.
	FlowEvery  = 100 * time.Millisecond
	FlowRepeat = time.Second
	// FlowSilence is for how long a report holds. After it, nothing is known of the
	// task, and ingest does not refuse events because of it.
	FlowSilence = 10 * time.Second

	flowTasksMax = 1000 // in one message
)

// FlowReport says how far the tasks of a processor are.
type FlowReport struct {
	Processor string `json:"processor,omitempty"`
	Tasks     []Flow `json:"tasks"`
}

// Flow is how far the task of a partition is with its log, and whether it can take more.
type Flow struct {
	App       string `json:"app"`
	Partition uint32 `json:"partition"`
	// Applied is the log sequence of the newest frame applied, and LogEnd the log's last
	// sequence as far as the task knows.
	Applied uint64 `json:"applied"`
	LogEnd  uint64 `json:"log_end"`
	// FrameTime is what a frame of the log has cost the task of late, ns. It includes the
	// wait for the output stream.
	FrameTime time.Duration `json:"frame_ns"`
	// Busy is for how long the task has been at the frame after Applied, ns.
	Busy time.Duration `json:"busy_ns,omitempty"`
	// StateBytes estimates the memory of the task's state.
	StateBytes int64 `json:"state_bytes"`
	// Over says why the task is over one of its limits and takes no events; empty if it is
	// not.
	Over string `json:"over,omitempty"`
}

// Lag is how long the task needs for what its log holds up to a sequence, at the pace of
// late.
func (f *Flow) Lag(end uint64) time.Duration {
	end = max(end, f.LogEnd)
	return time.Duration(end-min(f.Applied, end))*f.FrameTime + f.Busy
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

// SubscribeFlow hands each task of each report to hear, from one goroutine.
func SubscribeFlow(nc *nats.Conn, hear func(Flow)) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(FlowSubject, func(m *nats.Msg) {
		var r FlowReport
		if json.Unmarshal(m.Data, &r) != nil {
			return // whoever may publish here may as well be silent
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
