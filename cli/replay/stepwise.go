package replay

import (
	"bufio"
	"io"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Player applies lines one by one, for callers that look at the output in between.
type Player struct {
	p   *player
	out *bufio.Writer
}

// NewPlayer returns a player that writes output to out.
func NewPlayer(plans []*siddhiql.Plan, out io.Writer, opt Options) (*Player, error) {
	w := bufio.NewWriter(out)
	p, err := newPlayer(plans, w, opt)
	return &Player{p, w}, err
}

// Play applies a line. When Play returns, all output of the line is written. A refused line changes
// nothing.
func (p *Player) Play(line []byte) error {
	err := p.p.play(line)
	if flushing := p.out.Flush(); err == nil {
		err = flushing
	}
	return err
}
