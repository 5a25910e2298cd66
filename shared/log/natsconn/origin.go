package natsconn

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// CheckOrigin says why the messages of a JetStream stream cannot be events once each; nil if
// they can.
func CheckOrigin(info *jetstream.StreamInfo) error {
	kind := ""
	switch info.Config.Retention {
	case jetstream.WorkQueuePolicy:
		kind = "work-queue"
	case jetstream.InterestPolicy:
		kind = "interest"
	default:
		return nil
	}
	return fmt.Errorf("JetStream stream %s has %s retention: NATS removes its messages as consumers take them, so they could not be read again after a crash; create a stream with limits retention that has %[1]s as its source (nats stream add --source %[1]s), and read that one", info.Config.Name, kind)
}
