#!/usr/bin/env bash
# Runs the flights app on real flights: a server, a subscriber that prints results,
# and a publisher at a pace that a person can follow. `make run` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

listen=${EVENTFLUX_LISTEN:-127.0.0.1:4222}
server=nats://$listen
# A second run would publish flights that are older than the clock of the first one.
scratch=$(mktemp -d)
data=${EVENTFLUX_DATA:-$scratch/data}
EVENTFLUX_DATA=$data bin/eventflux run examples/flights.siddhi > >(tee "$scratch/log") &
server_pid=$!
children=()
# Ctrl-C reaches all of them; the server then drains and ends. Nothing outlives this.
finish() {
	kill "${children[@]}" "$server_pid" 2>/dev/null || true
	wait "$server_pid" 2>/dev/null || true
	rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 0' INT TERM

# Not before our own server is there: another one may have the address.
until grep -q '^ready' "$scratch/log" 2>/dev/null; do
	kill -0 "$server_pid" 2>/dev/null || exit 1
	sleep 0.1
done
bin/eventflux subscribe 'out.Flights.BusiestAirports.*' --server "$server" --wait 30s &
children+=($!)
bin/eventflux subscribe 'out.Flights.LateAirports.*' --server "$server" --wait 30s &
children+=($!)

cat <<TEXT
Publish and subscribe yourself, in another terminal:

  nats -s $server sub 'out.Flights.>'
  nats -s $server pub -H Ef-Timestamp:978310020000 events.Flights '{"time":978310020000,"origin":"DTW","destination":"LAS","delay":66,"distance":1750}'
  bin/eventflux subscribe 'out.Flights.>' --server $server
  head -5 examples/data/flights.ndjson | bin/eventflux publish Flights - --ts time --server $server

Flights are now published at 100 a second; a day of them takes about two seconds.
TEXT
# Through cat, progress comes as lines; a bar would erase results.
bin/eventflux publish Flights examples/data/flights.ndjson --ts time --rate 100 --server "$server" --wait 30s 2> >(cat >&2) ||
	echo "publishing ended early, the server goes on"
wait "$server_pid"
