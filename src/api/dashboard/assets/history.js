// What was seen of each session while the dashboard is open: samples for the charts, kept over a reload.

/** Samples of a session; above it every second one of the older half goes. */
const MOST = 600;
/** Two samples are at least so far apart. */
const APART = 900;
/** A rate is taken over so long. */
const OVER = 8_000;

const held = new Map();

function load(id) {
  if (held.has(id)) return held.get(id);
  let samples = [];
  try {
    const kept = JSON.parse(sessionStorage.getItem(`samples:${id}`) ?? "[]");
    if (Array.isArray(kept)) samples = kept.filter((sample) => Array.isArray(sample) && sample.length === 4);
  } catch { /* nothing kept */ }
  held.set(id, samples);
  if (held.size > 50) held.delete(held.keys().next().value);
  return samples;
}

function thin(samples) {
  const half = samples.length >> 1;
  return samples.filter((_, index) => index >= half || index % 2 === 0);
}

/** Notes where a session stands; `at` in milliseconds. */
export function note(id, at, counters) {
  if (!counters) return;
  const samples = load(id);
  const last = samples.at(-1);
  const ended = counters.fetched + counters.failed + counters.skipped;
  const sample = [at, ended, counters.queued + counters.in_flight, counters.failed];
  if (last && at - last[0] < APART) {
    if (at >= last[0]) last.splice(1, 3, ...sample.slice(1));
    return;
  }
  samples.push(sample);
  if (samples.length > MOST) held.set(id, thin(samples));
}

/** Samples that the daemon kept, older than ours. */
export function before(id, samples) {
  const own = load(id);
  const first = own[0]?.[0] ?? Infinity;
  const older = samples.filter((sample) => sample[0] < first - APART);
  let joined = [...older, ...own];
  while (joined.length > MOST) joined = thin(joined);
  held.set(id, joined);
}

export function keep(id) {
  try {
    sessionStorage.setItem(`samples:${id}`, JSON.stringify(load(id)));
  } catch { /* no place: the chart begins anew after a reload */ }
}

/** `{ at, rate, queue }` each; the rate is of URLs ended a second, none where nothing tells it. */
export function series(id) {
  const samples = load(id);
  let from = 0;
  return samples.map(([at, ended, queue], index) => {
    while (from < index - 1 && samples[from + 1][0] <= at - OVER) from += 1;
    const [then, before] = samples[from];
    const seconds = (at - then) / 1000;
    // A count that went back is another session's store, or a retry: no rate.
    const rate = seconds > 0.5 && ended >= before ? (ended - before) / seconds : null;
    return { at, rate, queue };
  });
}
