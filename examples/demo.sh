#!/usr/bin/env bash
# The whole promise in one minute: a crawl whose daemon and browser are killed midway, and that loses nothing.
# Run it by `make demo`, which builds first. DEMO_CRAWLD and DEMO_SITE name other builds.
set -euo pipefail
cd "$(dirname "$0")/.."

crawld=${DEMO_CRAWLD:-target/debug/crawld}
site_program=${DEMO_SITE:-target/debug/examples/demo_site}
work=$(mktemp -d "${TMPDIR:-/tmp}/crawld-demo.XXXXXX")
state=$work/state
site_pid= crawl_pid=

finish() {
    local code=$?
    [ -n "$crawl_pid" ] && kill "$crawl_pid" 2>/dev/null
    [ -n "$site_pid" ] && kill "$site_pid" 2>/dev/null
    if [ $code -ne 0 ]; then
        echo "demo: failed with code $code; everything it wrote is in $work" >&2
        tail -n 20 "$work"/*.log >&2 2>/dev/null || true
    fi
    exit $code
}
trap finish EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# How many pages the crawl has recorded so far.
recorded() { cat "$state"/sessions/*/out/pages-*.jsonl 2>/dev/null | wc -l; }

# Waits until at least $1 pages are recorded; fails after 40 s, or when the crawl ends first.
until_recorded() {
    local end=$((SECONDS + 40))
    while [ "$(recorded)" -lt "$1" ]; do
        if [ $SECONDS -gt $end ]; then echo "demo: $(recorded) pages after 40 s, $1 expected" >&2; return 1; fi
        kill -0 "$crawl_pid" 2>/dev/null || { echo "demo: the crawl ended at $(recorded) pages" >&2; return 1; }
        sleep 0.05
    done
}

# The browser's main process: a child of ours that speaks on a debugging pipe and is no helper.
browser_of() {
    local pid
    for pid in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q -- '--remote-debugging-pipe'; then echo "$pid"; fi
    done
}

say "A site to crawl: 60 lighthouses, a sitemap, and a workshop of redirects, errors and odd pages"
"$site_program" --pages 60 --latency-ms 20 --log "$work/requests.log" >"$work/site.url" &
site_pid=$!
for _ in $(seq 100); do [ -s "$work/site.url" ] && break; sleep 0.05; done
url=$(cat "$work/site.url")
echo "$url"

crawl=("$crawld" crawl "$url" --state-dir "$state" --delay 20ms --per-host 3 --tabs 3)
say "crawld crawl $url"
"${crawl[@]}" >"$work/crawl-1.log" 2>&1 &
crawl_pid=$!
until_recorded 8

say "kill -9 the browser, after $(recorded) pages"
browser=$(browser_of "$crawl_pid")
[ -n "$browser" ] || { echo "demo: no browser found below pid $crawl_pid" >&2; exit 1; }
for pid in $browser; do kill -9 "$pid"; done
until_recorded 25

say "kill -9 the daemon, after $(recorded) pages"
kill -9 "$crawl_pid"
wait "$crawl_pid" 2>/dev/null || true
crawl_pid=

say "crawld recover --dry-run"
"$crawld" recover --dry-run --state-dir "$state"

say "crawld recover"
code=0
"$crawld" recover --state-dir "$state" 2>"$work/recover.log" || code=$?
# 3: done, and the workshop's broken page failed as it should.
[ $code -eq 0 ] || [ $code -eq 3 ] || exit $code

say "crawld verify"
"$crawld" verify --state-dir "$state"

say "What was crawled"
pages=$(cat "$state"/sessions/*/out/pages-*.jsonl)
total=$(wc -l <<<"$pages")
distinct=$(grep -o '"url":"[^"]*"' <<<"$pages" | sort -u | wc -l)
for outcome in fetched failed skipped; do
    printf '%8d %s\n' "$(grep -c "\"outcome\":\"$outcome\"" <<<"$pages" || true)" "$outcome"
done
printf '%8d records, %d distinct URLs, %d requests at the site\n' "$total" "$distinct" "$(wc -l <"$work/requests.log")"
[ "$total" -eq "$distinct" ] || { echo "demo: a URL was recorded twice" >&2; exit 1; }
printf '\nTwo kills, no page lost, none twice. The outputs: %s\n' "$(echo "$state"/sessions/*/out)"
