// Command eventflux is the whole product in one binary: the services and the command line.
package main

import "github.com/eventflux/eventflux/cli"

func main() { cli.Main() }
