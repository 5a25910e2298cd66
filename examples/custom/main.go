// Command custom is eventflux with a window, a function and an aggregator of its own: hop,
// clamp and spread. Build it, and use it in place of eventflux on every machine that runs,
// checks or replays apps with them.
package main

import "github.com/eventflux/eventflux/cli"

func main() { cli.Main() }
