// Package compose runs the stacks of deploy/ in containers. It starts compose.yaml and publishes
// flights while it kills and restarts every container in turn. Then it compares the results with a
// replay, verifies each checkpoint, and checks that Prometheus sees every process. It needs Docker
// Engine 26 or later with the compose plugin, so it has the build tag compose: make compose-test.
//
// If registries cannot be reached, BASE_IMAGES=local builds the base images from what this machine
// has: Go with the modules, nats-server from its module, redis-server and prometheus.
package compose
