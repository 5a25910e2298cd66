package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/store"
)

// HeaderBytes is the size of the whole object in answers to VerbObject.
const HeaderBytes = "Ef-Bytes"

const objectPieceMax = 512 << 10

// object answers VerbObject.
func (s *Service) object(ctx context.Context, r micro.Request) error {
	request := &ObjectRequest{}
	if err := control.Parse(r.Data(), request); err != nil {
		return err
	}
	folder, _, _ := strings.Cut(request.Name, "/")
	if store.CheckName(request.Name) != nil || !slices.Contains([]string{"runs", "blocks", "packs"}, folder) {
		return failure(control.CodeInvalid, "%.100q is not the name of a run, a block or a pack, such as runs/3f9a…", request.Name)
	}
	data, err := s.cfg.Store.Get(ctx, request.Name)
	if errors.Is(err, store.ErrNotFound) {
		return failure(control.CodeNotFound, "there is no object %s", request.Name)
	}
	if err != nil {
		return failure(control.CodeUnavailable, "read %s: %v", request.Name, err)
	}
	if request.Offset < 0 || request.Offset > int64(len(data)) {
		return failure(control.CodeInvalid, "offset %d of %s, which has %d bytes", request.Offset, request.Name, len(data))
	}
	piece := data[request.Offset:]
	most := min(objectPieceMax, int(s.cfg.Conn.MaxPayload())/2)
	if len(piece) > most {
		piece = piece[:most]
	}
	if err := r.Respond(piece, micro.WithHeaders(micro.Headers{HeaderBytes: {strconv.Itoa(len(data))}})); err != nil {
		return fmt.Errorf("answer with %d bytes of %s: %w", len(piece), request.Name, err)
	}
	return nil
}
