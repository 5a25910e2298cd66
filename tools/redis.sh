#!/usr/bin/env bash
# Finds redis-server, or installs it where that can be done without asking: the tests of
# the Redis store start servers of their own.
set -euo pipefail
# Not on the path of everybody who is not root.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

command -v redis-server >/dev/null && exit 0

missing() {
	echo "redis-server is not installed, $1." >&2
	echo "Tests need it, version 7.0 or later: apt-get install redis-server, brew install redis, or https://redis.io/downloads" >&2
	exit 1
}

command -v apt-get >/dev/null || missing "and there is no apt-get to install it with"
root=()
if [ "$(id -u)" != 0 ]; then
	sudo -n true 2>/dev/null || missing "and only root can install it"
	root=(sudo -n)
fi

# Debian starts a server on port 6379 when it installs one. This tells it not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
	"${root[@]}" chmod 755 "$policy"
	trap '"${root[@]}" rm -f "$policy"' EXIT
fi

install() {
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server
}
echo "installing redis-server"
install || { "${root[@]}" apt-get update -q && install; } || missing "and apt-get could not install it"
command -v redis-server >/dev/null || missing "though apt-get says it has installed it"
