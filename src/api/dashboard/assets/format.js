// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function count(value) {
  return known(value) ? WHOLE.format(value) : "–";
}

/** At most five places. */
export function short(value) {
  if (!known(value)) return "–";
  return Math.abs(value) < 100_000 ? WHOLE.format(value) : SHORT.format(value);
}

export function rate(value) {
  if (!known(value)) return "–";
  return value >= 100 ? WHOLE.format(value) : value.toFixed(value >= 10 || value === 0 ? 1 : 2);
}

export function percent(share) {
  if (!known(share)) return "–";
  const value = share * 100;
  // Nothing is 100 % before it is.
  const text = value < 100 && value >= 99.95 ? "99.9" : value.toFixed(value < 10 || value >= 99 ? 1 : 0);
  return `${text.replace(/\.0$/, "")} %`;
}

export function bytes(value) {
  if (!known(value)) return "–";
  let unit = 0;
  while (value >= 1024 && unit < 4) { value /= 1024; unit += 1; }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

export function duration(seconds) {
  if (!known(seconds)) return "–";
  const all = Math.max(0, Math.round(seconds));
  const [d, hours, m, sec] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60];
  if (d) return hours ? `${d} d ${hours} h` : `${d} d`;
  if (hours) return m ? `${hours} h ${m} min` : `${hours} h`;
  if (m) return sec && m < 10 ? `${m} min ${sec} s` : `${m} min`;
  return `${sec} s`;
}

export function milliseconds(value) {
  if (!known(value)) return "–";
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} s`;
}

export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (!known(seconds)) return "–";
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

const pad = (value) => String(value).padStart(2, "0");

/** Of today the time, else the day too; the clock of whoever looks. */
export function clock(time, now = new Date()) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "–";
  const text = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return at.toDateString() === now.toDateString() ? text : `${day} ${text}`;
}

/** Words of a closed list: `host_unreachable`. */
export const words = (name) => String(name ?? "").replaceAll("_", " ");
