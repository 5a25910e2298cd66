// Command eventflux is the whole product in one binary: the services and the command line.
package main

import (
	"os"

	"github.com/eventflux/eventflux/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
