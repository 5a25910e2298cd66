package checkpointer

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// servicesOfStores are the services whose processes have a store.
var servicesOfStores = []string{"checkpointer", "processor", "merger", "recovery"}

// processes returns the services in all processes that have a store, as natsconn.Place names
// them: those that answer, all members of the group, and all processors that send heartbeats.
// Several may have the same name.
func (sw *storeSwitch) processes(ctx context.Context) (names []string) {
	found, err := natsconn.Services(ctx, sw.cfg.Conn)
	if err != nil {
		sw.log.Warn("ask which services there are", "err", err)
	}
	for _, s := range found {
		if slices.Contains(servicesOfStores, strings.TrimPrefix(s.Name, natsconn.ServiceName(""))) {
			names = append(names, natsconn.Place(&s))
		}
	}
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, p := range sw.cfg.Raft.Status().Peers {
		add("checkpointer " + p.ID)
	}
	able, leaving, _ := sw.processors.alive(time.Now())
	for _, id := range slices.Concat(able, leaving) {
		add("processor " + id)
	}
	slices.Sort(names)
	return names
}

// askProcesses sends a request to all processes that have a store, and waits for their answers.
// silent are the services whose process has not answered in time.
func (sw *storeSwitch) askProcesses(ctx context.Context, r *control.StoreRequest) (reports []control.StoreReport, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, processesTimeout)
	defer cancel()
	silent = sw.processes(ctx)
	reports = []control.StoreReport{}
	data, err := json.Marshal(r)
	if err != nil {
		return reports, silent
	}
	nc := sw.cfg.Conn
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err == nil {
		defer func() { _ = answers.Unsubscribe() }() // the connection may be gone
		err = nc.PublishRequest(control.StoreSubject(), inbox, data)
	}
	for err == nil && len(silent) > 0 {
		m, failed := answers.NextMsgWithContext(ctx)
		if err = failed; err != nil {
			break
		}
		if m.Header.Get("Status") != "" {
			break // no process listens
		}
		var p control.StoreReport
		if json.Unmarshal(m.Data, &p) != nil {
			continue
		}
		reports = append(reports, p)
		for _, name := range p.Services {
			if i := slices.Index(silent, name); i >= 0 {
				silent = slices.Delete(silent, i, i+1)
			}
		}
	}
	slices.SortFunc(reports, func(a, b control.StoreReport) int { return strings.Compare(a.Name(), b.Name()) })
	return reports, silent
}
