// Package compose runs deploy/compose.yaml in containers: it starts the stack, publishes
// flights, kills and restarts every container in turn meanwhile, and compares the
// results with those of a replay. It needs Docker Engine 26 or later with the compose
// plugin, so it is built with the tag compose alone: make compose-test.
//
// Where registries cannot be reached, BASE_IMAGES=local makes the images that
// others are built on from programs of this machine: nats-server from Go's module cache,
// and redis-server. Prometheus is left out then.
package compose
