package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// runJob starts a job, shows its progress until it ends, and decodes its result. app points to the
// app name in the request; if that is empty, the only deployed app is used.
func runJob(cmd *cobra.Command, a *asking, verb string, app *string, request, result any) (*recovery.Job, error) {
	at := &recovery.Job{}
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) error {
		if err := nameApp(ctx, nc, app); err != nil {
			return err
		}
		client := a.client(nc, recovery.ServiceName)
		if err := client.Do(ctx, verb, request, at); err != nil {
			return err
		}
		shown := showJob(cmd.ErrOrStderr(), a.json)
		defer shown.close()
		events, err := nc.SubscribeSync(natsconn.JobSubject(at.Job))
		if err != nil {
			return err
		}
		for at.State == recovery.JobRunning {
			shown.at(at)
			next, cancel := context.WithTimeout(ctx, time.Second)
			_, err := events.NextMsgWithContext(next) // wake up at an event, or after a second
			cancel()
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("the job goes on: nats req ef.recovery.job '{\"job\":%q}' tells how it is: %w", at.Job, ctx.Err())
			}
			now := &recovery.Job{}
			if err := client.Do(ctx, recovery.VerbJob, recovery.JobRequest{Job: at.Job}, now); err != nil {
				return err
			}
			at = now
		}
		shown.at(at)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if at.State == recovery.JobFailed {
		if at.Next != "" && !strings.Contains(at.Error, at.Next) {
			return at, fmt.Errorf("%s; next: %s", at.Error, at.Next)
		}
		return at, errors.New(at.Error)
	}
	return at, json.Unmarshal(at.Result, result)
}

// shownJob shows a job as a bar on a terminal, otherwise as a line per phase.
type shownJob struct {
	out   io.Writer
	bars  *mpb.Progress
	bar   *mpb.Bar
	phase string
	job   recovery.Job
}

func showJob(w io.Writer, quiet bool) *shownJob {
	s := &shownJob{out: w}
	if quiet {
		s.out = io.Discard
	}
	f, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(64))
	s.bar = s.bars.AddBar(1000,
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return s.job.Phase }, decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + jobText(&s.job) })))
	return s
}

func (s *shownJob) at(j *recovery.Job) {
	if s.bar != nil {
		s.job = *j
		s.bar.SetCurrent(int64(1000 * jobShare(j)))
		return
	}
	if j.Phase != s.phase {
		s.phase = j.Phase
		fmt.Fprintf(s.out, "%s: %s\n", j.Phase, jobText(j))
	}
}

// jobShare returns how much of a job is done. Bytes and frames have equal weight.
func jobShare(j *recovery.Job) float64 {
	if j.State == recovery.JobDone {
		return 1
	}
	var share, of float64
	if j.BytesTotal > 0 {
		share, of = share+min(float64(j.BytesDone)/float64(j.BytesTotal), 1), of+1
	}
	if j.FramesTotal > 0 {
		share, of = share+min(float64(j.FramesDone)/float64(j.FramesTotal), 1), of+1
	}
	return share / max(of, 1)
}

func jobText(j *recovery.Job) string {
	text := fmt.Sprintf("%s read, %d frames", bytesText(j.BytesDone), j.FramesDone)
	if j.State == recovery.JobRunning && j.ETASeconds > 0 {
		text += fmt.Sprintf(", %.0f s left", j.ETASeconds)
	}
	return text
}

func (s *shownJob) close() {
	if s.bars != nil {
		s.bar.Abort(false)
		s.bars.Wait()
	}
}
