#!/usr/bin/env bash
# Runs the flights app on real flights: a server, a subscriber that prints results,
# and a publisher at a pace that a person can follow. `make run` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

listen=${EVENTFLUX_LISTEN:-127.0.0.1:4222}
server=nats://$listen
# A second run would publish flights that are older than the clock of the first one.
data=${EVENTFLUX_DATA:-$(mktemp -d)}
EVENTFLUX_DATA=$data bin/eventflux run examples/flights.siddhi &
server_pid=$!
# Ctrl-C reaches all of them; the server then drains and ends.
trap 'wait "$server_pid"; exit' INT TERM

bin/eventflux subscribe 'out.Flights.BusiestAirports.*' --server "$server" --wait 30s &
bin/eventflux subscribe 'out.Flights.LateAirports.*' --server "$server" --wait 30s &

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
