package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	killedRows = 900_000
	tailRows   = 1_000_000 // after the checkpoint: 10 s at 100,000 events/s
	killedApp  = "@app:name('" + appName + "')\ndefine stream Rows (k long, text string, v double); " +
		"from Rows#length(900000) select k, text, v having k < 0 insert into Out; from Rows[k == -1] select k insert into Heard;"
	killedLimit = 5 * time.Minute
)

// runKilled measures the time from the restart of a killed process to the result of an event.
func runKilled(ctx context.Context, b *bench) (_ []table, err error) {
	ctx, cancel := context.WithTimeout(ctx, killedLimit)
	defer cancel()
	dir, err := os.MkdirTemp(b.dir, "killed-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	k := &killed{b: b, app: filepath.Join(dir, "app.siddhi"), data: filepath.Join(dir, "data")}
	if k.binary, err = b.build(ctx, dir); err != nil {
		return nil, err
	}
	if err := os.WriteFile(k.app, []byte(killedApp), 0o600); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.kill()) }()
	state, err := k.fill(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.kill(); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := k.start(ctx); err != nil {
		return nil, err
	}
	nc, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := k.hear(ctx, nc); err != nil {
		return nil, err
	}
	took := time.Since(start).Seconds()
	b.say("killed: a result after %s", duration(took))
	return []table{{
		title: "After a kill",
		about: fmt.Sprintf("`eventflux run` with a window of 900,000 rows (64 MiB as rows, %d MiB of entries) is killed %d events\n"+
			"after a checkpoint (10 s at 100,000 events/s) and restarted. The time is from the restart to the result\n"+
			"of an event that is published until it is accepted: server start, recovery of the log, restore and\n"+
			"replay.", state>>20, tailRows),
		unit: "time", rows: []row{{what: "from the start to the first result", value: given(duration, took)}},
	}}, nil
}

// killed is a process that is killed and restarted.
type killed struct {
	b                 *bench
	binary, app, data string
	process           *exec.Cmd
	url               string
}

func (k *killed) start(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	k.url = "nats://" + port
	k.process = exec.CommandContext(ctx, k.binary, "run", k.app, "--data", k.data, "--listen", port, "--checkpoint.interval", "1h", "--log.level", "error")
	k.process.Stderr = k.b.progress
	return k.process.Start()
}

func (k *killed) kill() error {
	if k.process == nil {
		return nil
	}
	err := k.process.Process.Kill()
	_ = k.process.Wait() // it was killed
	k.process = nil
	return err
}

func (k *killed) connect(ctx context.Context) (*nats.Conn, error) {
	for {
		nc, err := nats.Connect(k.url)
		if err == nil {
			return nc, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Millisecond):
		}
	}
}

// hear publishes an event until it is accepted, and waits for its result.
func (k *killed) hear(ctx context.Context, nc *nats.Conn) error {
	heard, err := nc.SubscribeSync(natsconn.OutSubject(appName, "Heard", 0))
	if err != nil {
		return err
	}
	for {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		m, err := nc.RequestWithContext(limited, rowsSubject, []byte(`{"k":-1,"text":"","v":0}`))
		cancel()
		if err == nil && len(m.Data) > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	_, err = heard.NextMsgWithContext(ctx)
	return err
}

// fill creates the state, its checkpoint and the tail, and returns the size of the checkpoint's
// entries in bytes.
func (k *killed) fill(ctx context.Context) (int64, error) {
	if err := k.start(ctx); err != nil {
		return 0, err
	}
	nc, err := k.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if err := k.hear(ctx, nc); err != nil {
		return 0, err
	}
	p, err := newPublisher(nc, natsconn.WALStream(appName, 0))
	if err != nil {
		return 0, err
	}
	messages := (&covered{}).messages()
	f := &feeder{deployment: &deployment{}, nc: nc, control: control.Client{Conn: nc}, messages: messages, publish: p.publish}
	if err := errors.Join(f.rows(ctx, killedRows), f.caughtUp(ctx, killedRows)); err != nil {
		return 0, err
	}
	c, _, err := f.checkpoint(ctx)
	if err != nil {
		return 0, err
	}
	return c.StateBytes, errors.Join(f.rows(ctx, tailRows), f.caughtUp(ctx, killedRows+tailRows))
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
