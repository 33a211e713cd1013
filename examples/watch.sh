#!/usr/bin/env bash
# A client of the API in one line of curl: whoever owns a state directory answers on its Unix socket.
# Usage: examples/watch.sh [STATE_DIR]
# Prints where every session stands, every two seconds, until there is no owner any more.
set -euo pipefail
socket=${1:-app-memory}/crawld.sock
ask() { curl --silent --fail --max-time 5 --unix-socket "$socket" "http://localhost/api/v1/$1"; }

ask health >/dev/null || { echo "watch: no crawld answers on $socket; start one with: crawld run" >&2; exit 5; }
while sessions=$(ask sessions); do
    # One session a line: id, status, and the counters that move.
    grep -oE '"(session_id|status)":"[^"]*"|"(queued|in_flight|fetched|failed|skipped)":[0-9]+' <<<"$sessions" |
        tr -d '"' | sed 's/^session_id:/\n/' | paste -sd ' ' | sed 's/  */ /g'
    sleep 2
done
