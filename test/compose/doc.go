// Package compose runs the stacks of deploy/ in containers. It starts compose.yaml and
// publishes flights while it kills and restarts every container in turn. It compares the
// results with a replay, verifies each checkpoint, and asks Prometheus whether it sees all. It
// needs Docker Engine 26 or later with the compose plugin, so it is built with the tag compose
// alone: make compose-test.
//
// Where registries cannot be reached, BASE_IMAGES=local makes the images that others are
// built on from what this machine has: Go with the modules, nats-server from its module,
// redis-server and prometheus.
package compose
