package eventflux

import "time"

// LookEvery changes how often a subscription checks where its results go.
func LookEvery(d time.Duration) SubscribeOption { return func(s *subscribing) { s.lookEvery = d } }
