package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/streamfiles"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// checkWithin bounds how long a start reads results. It always reads logs to their end.
const checkWithin = 20 * time.Second

const (
	natsFolder    = "nats"
	witnessFolder = "witness"
	damagedFolder = "damaged"
)

// openWitness opens the record of the logs' ends. There is none with an external server that
// does not sync before it acknowledges, because such a server may lose the end of a log.
func (n *Node) openWitness() (err error) {
	if n.cfg.NATS.URL != "" && n.durability != natsconn.Durable {
		return nil
	}
	n.witness, err = witness.Open(filepath.Join(n.cfg.Data, witnessFolder))
	if err != nil && n.cfg.NATS.URL != "" {
		// A container of an ingest or a processor needs no folder.
		n.log.Info("this process keeps no witness of the logs' ends, since it cannot write to its data folder", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	n.syncing = start(func(ctx context.Context) error {
		n.witness.Run(ctx, func(err error) {
			n.log.Error("the ends of the logs are not brought to the disk; trying again: see that the disk of the data folder works", "err", err)
		})
		return nil
	})
	return nil
}

// checkFiles checks the files of the embedded server before it starts.
func (n *Node) checkFiles() error {
	report, err := checkStreams(n.cfg, n.durability, n.witness, repair{})
	if report != nil {
		for i := range report.New {
			n.log.Error("damaged file of JetStream", "stream", report.New[i].Stream, "kind", string(report.New[i].Kind), "finding", report.New[i].String())
		}
		for i := range report.Old {
			n.log.Warn("messages of JetStream are missing since an earlier start", "stream", report.Old[i].Stream, "found", report.Old[i].Time, "finding", report.Old[i].String())
		}
		if len(report.Unread) > 0 {
			n.log.Info("results were not read to their end before the start, since there are many", "streams", report.Unread)
		}
	}
	var meta *streamfiles.MetaError
	var other *streamfiles.OtherLogError
	if errors.As(err, &meta) || errors.As(err, &other) {
		return fmt.Errorf("%w; restore the files from a copy, or make the settings again and accept the logs as they are with eventflux recover --log --data %s", err, n.cfg.Data)
	}
	return err
}

// repair is the repair that an operator requested.
type repair struct {
	rebuild    bool // settings, and the witness
	acceptLoss bool
}

// checkStreams checks the JetStream files of a data folder whose server is not running. It
// then sets the witness to the logs that were accepted.
func checkStreams(cfg *config.Config, durability natsconn.Durability, ends *witness.Folder, r repair) (*streamfiles.Report, error) {
	all, damaged, err := ends.Ends()
	if err != nil {
		return nil, err
	}
	report, err := streamfiles.Check(streamfiles.Config{
		Dir: filepath.Join(cfg.Data, natsFolder), Aside: filepath.Join(cfg.Data, damagedFolder), Ends: all,
		Limits:  natsconn.StreamLimits{BytesMax: int64(cfg.WAL.BytesMax), Replicas: cfg.NATS.Replicas},
		MayLose: durability != natsconn.Durable, Boot: witness.Boot(), Rebuild: r.rebuild, AcceptLoss: r.acceptLoss, Within: checkWithin,
	})
	if report == nil {
		return nil, err
	}
	for stream, why := range damaged {
		report.New = append(report.New, streamfiles.Finding{
			Time: time.Now().UTC(), Kind: streamfiles.KindEnd, Stream: stream,
			What: fmt.Sprintf("%v; this start cannot check whether the log lost its end; the next acknowledged frame starts a new witness", why),
		})
	}
	for stream, end := range report.Ends {
		err = errors.Join(err, ends.Set(stream, end))
	}
	return report, err
}

// RecoverLogs restores lost settings of JetStream streams, and accepts logs that differ from the
// acknowledged ones. With acceptLoss it also closes the holes in logs, so that apps continue
// without the lost events. The owner of the data folder must not be running.
func RecoverLogs(cfg *config.Config, acceptLoss bool) (*streamfiles.Report, error) {
	durability, err := natsconn.ParseDurability(string(cfg.WAL.Durability))
	if err != nil {
		return nil, err
	}
	if err := checkFolder(cfg.Data); err != nil {
		return nil, err
	}
	unlock, err := natsconn.LockFolder(filepath.Join(cfg.Data, natsFolder))
	if errors.Is(err, natsconn.ErrInUse) {
		return nil, fmt.Errorf("%w; stop eventflux first: it checks its files when it starts", err)
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	ends, err := witness.Open(filepath.Join(cfg.Data, witnessFolder))
	if err != nil {
		return nil, err
	}
	report, err := checkStreams(cfg, durability, ends, repair{rebuild: true, acceptLoss: acceptLoss})
	return report, errors.Join(err, ends.Close())
}
