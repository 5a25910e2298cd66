package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/eventflux/eventflux/cli/publish"
	"github.com/eventflux/eventflux/cli/terminal"
)

const (
	refusedShownMax = 20 // lines; further ones are only counted
	progressEvery   = 5 * time.Second
)

// progress shows the progress of publishing: as a bar on a terminal, otherwise as a line from time
// to time.
type progress struct {
	name string
	out  io.Writer // where lines go; above the bar if there is one
	bars *mpb.Progress
	bar  *mpb.Bar

	mu      sync.Mutex
	total   publish.Result
	refused int
	shown   time.Time
}

// newProgress shows the progress through size bytes; 0 means unknown.
func newProgress(w io.Writer, name string, size int64) *progress {
	p := &progress{name: name, out: w, shown: time.Now()}
	f := terminal.Of(w)
	if f == nil {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(64))
	p.out = terminal.New(p.bars)
	counts := decor.Any(func(decor.Statistics) string { return p.counts() })
	if size == 0 {
		p.bar = p.bars.AddSpinner(0, mpb.AppendDecorators(counts))
		return p
	}
	p.bar = p.bars.AddBar(size,
		mpb.PrependDecorators(decor.Percentage(decor.WCSyncSpace)),
		mpb.AppendDecorators(counts, decor.OnComplete(decor.AverageETA(decor.ET_STYLE_MMSS, decor.WC{W: 7}), "")))
	return p
}

// Refused shows the first events that were refused.
func (p *progress) Refused(line int, reason string) {
	p.refused++
	switch {
	case p.refused <= refusedShownMax:
		fmt.Fprintf(p.out, "%s:%d: %s\n", p.name, line, reason)
	case p.refused == refusedShownMax+1:
		fmt.Fprintln(p.out, "more events are refused and only counted")
	}
}

// Answered moves the bar, or prints a line if the previous one is old.
func (p *progress) Answered(total publish.Result, bytes int64) {
	p.mu.Lock()
	p.total = total
	p.mu.Unlock()
	if p.bar != nil {
		p.bar.SetCurrent(bytes)
		return
	}
	if now := time.Now(); now.Sub(p.shown) >= progressEvery {
		p.shown = now
		fmt.Fprintln(p.out, p.counts())
	}
}

func (p *progress) counts() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total.Refused == 0 {
		return fmt.Sprintf(" %d events", p.total.Accepted)
	}
	return fmt.Sprintf(" %d events, %d refused", p.total.Accepted, p.total.Refused)
}

// close removes the bar. All output is complete on return.
func (p *progress) close(complete bool) {
	if p.bars == nil {
		return
	}
	if complete {
		p.bar.SetTotal(-1, true)
	} else {
		p.bar.Abort(false)
	}
	p.bars.Wait()
}
