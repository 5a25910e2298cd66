package natsconn

import (
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Durability says when the server has synced a message to disk that it
// acknowledges. The zero value is invalid.
type Durability uint8

const (
	// Durable syncs before the acknowledgement: what is acknowledged survives a
	// power loss.
	Durable Durability = 1
	// Balanced syncs every 100 ms: a power loss takes up to that much; the kill
	// of a process takes nothing.
	Balanced Durability = 2
	// Fast leaves it to the server's default of two minutes. The kill of a
	// process takes nothing.
	Fast Durability = 3
)

const syncIntervalBalanced = 100 * time.Millisecond

var durabilityNames = [...]string{Durable: "durable", Balanced: "balanced", Fast: "fast"}

// String returns the name that the setting wal.durability has.
func (d Durability) String() string {
	if d.Valid() {
		return durabilityNames[d]
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// Valid reports whether d is one of the profiles above.
func (d Durability) Valid() bool { return d >= Durable && d <= Fast }

// Guarantee returns one sentence on what an acknowledgement means, to be printed
// at start.
func (d Durability) Guarantee() string {
	switch d {
	case Durable:
		return "acknowledged events survive the kill of a process and a power loss"
	case Balanced:
		return "acknowledged events survive the kill of a process; a power loss takes up to 100 ms"
	default:
		return "acknowledged events survive the kill of a process; a power loss takes up to 2 minutes"
	}
}

// ParseDurability returns the profile called name.
func ParseDurability(name string) (Durability, error) {
	for d := Durable; d <= Fast; d++ {
		if durabilityNames[d] == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("durability %q: want durable, balanced or fast", name)
}

func (d Durability) apply(opts *server.Options) {
	switch d {
	case Durable:
		opts.SyncAlways = true
	case Balanced:
		opts.SyncInterval = syncIntervalBalanced
	}
}
