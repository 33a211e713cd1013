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
        tail -n 20 "$work/crawld.log" >&2 2>/dev/null || true
    fi
    exit $code
}
trap finish EXIT

# A headline of the story; what crawld itself says is set in by two spaces.
bold= plain=
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
quote() { tee -a "$work/crawld.log" | sed -u 's/^/  /'; }

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
echo "  $url"

tabs=3
crawl=("$crawld" crawl "$url" --state-dir "$state" --delay 20ms --per-host $tabs --tabs $tabs)
say "1. It is crawled: crawld crawl $url"
"${crawl[@]}" > >(quote) 2>&1 &
crawl_pid=$!
until_recorded 8

say "2. After $(recorded) pages its browser is killed (kill -9). crawld starts another and goes on"
browser=$(browser_of "$crawl_pid")
[ -n "$browser" ] || { echo "demo: no browser found below pid $crawl_pid" >&2; exit 1; }
for pid in $browser; do kill -9 "$pid"; done
until_recorded 25

say "3. After $(recorded) pages crawld itself is killed (kill -9)"
kill -9 "$crawl_pid"
wait "$crawl_pid" 2>/dev/null || true
crawl_pid=
echo "  $(recorded) pages are on the disk; nobody crawls any more"

say "4. crawld recover: what happened, what is decided and why; then the crawl goes on to its end"
code=0
"$crawld" recover --state-dir "$state" > >(quote) 2>&1 || code=$?
wait $! 2>/dev/null || true
# 3: done, and the workshop's broken pages failed, as they should.
[ $code -eq 0 ] || [ $code -eq 3 ] || exit $code

say "5. crawld verify: every record against the store"
"$crawld" verify --state-dir "$state" | quote

say "6. The outputs against what the site was asked"
pages=$(cat "$state"/sessions/*/out/pages-*.jsonl)
total=$(wc -l <<<"$pages")
distinct=$(grep -o '"url":"[^"]*"' <<<"$pages" | sort -u | wc -l)
outcome() { grep -c "\"outcome\":\"$1\"" <<<"$pages" || true; }
line() { printf '%6d  %s\n' "$1" "$2"; }
line "$total" "records of $distinct URLs: $(outcome fetched) fetched, $(outcome failed) failed and $(outcome skipped) skipped (the workshop's: loops, errors, redirects, a download)"
[ "$total" -eq "$distinct" ] || { echo "demo: a URL was recorded twice" >&2; exit 1; }

# Requests by path: the first of each, and those beyond the first.
asked=$(grep -o '"path":"[^"]*"' "$work/requests.log" | cut -d'"' -f4 | sort | uniq -c)
count() { awk "$1 END { print n + 0 }" <<<"$asked"; }
again=$(count '$2 !~ /^\/(assets|lab)\// { n += $1 - 1 }')
line "$(wc -l <"$work/requests.log")" "requests at the site, of which"
line "$(count '$2 ~ /^\/assets\// { n += $1 }')" "were for style sheets and pictures: the pages are rendered by a browser"
line "$(count '$2 !~ /^\/assets\// { n += 1 }')" "for pages, sitemaps, redirects and robots.txt, each for the first time"
line "$(count '$2 ~ /^\/lab\// { n += $1 - 1 }')" "for the workshop's loops, and its failing pages tried again"
line "$again" "for pages that were open at a kill, fetched again: at most $tabs a kill"
[ "$again" -le $((2 * tabs)) ] || { echo "demo: $again pages were fetched again" >&2; exit 1; }

say "Two kills, no page lost, none there twice."
echo "The records: $(echo "$state"/sessions/*/out)"
echo "All of this demo lies in $work; remove it when you have seen it."
