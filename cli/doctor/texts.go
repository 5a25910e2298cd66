package doctor

import (
	"context"
	"errors"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// checkTexts reports errors in the texts of deployed apps that a deploy would refuse now.
// Earlier releases accepted such texts, and the apps keep running.
func (p *examination) checkTexts(ctx context.Context, r *report) {
	if p.appsErr != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, a := range p.apps {
		full, err := p.control.App(ctx, control.AppRequest{App: a.Name})
		if control.Code(err) == control.CodeNotFound {
			continue // removed since the list
		}
		if err != nil {
			r.add(Unknown, a.Name, "run doctor again", "the checkpointer does not give its text: %v", err)
			continue
		}
		_, err = siddhiql.Compile(full.Text, p.Settings.NATS.Inbox)
		var list siddhiql.ErrorList
		if !errors.As(err, &list) {
			continue
		}
		for _, e := range list {
			r.add(Warning, a.Name, "correct the text before the app is deployed again", "it runs, but a deploy refuses its text: %v", e)
		}
	}
	r.fine("texts", "a deploy accepts those of all apps")
}
