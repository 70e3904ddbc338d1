// Numbers, durations and times as people read them: the same rules as formats.py, so that the page does not change when the stream takes over.

const MINUS = '\u2212';
const digits = new Map();

export function number(value, decimals = 0) {
  let format = digits.get(decimals);
  if (!format) {
    format = new Intl.NumberFormat('en-GB', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    digits.set(decimals, format);
  }
  const text = format.format(value);
  return /^-[0.,]*$/.test(text) ? text.slice(1) : text.replace('-', MINUS);
}

export function value(given) {
  if (given === null || given === undefined) return '–';
  if (typeof given === 'boolean') return given ? 'on' : 'off';
  if (typeof given === 'string') return given.length <= 60 ? given : given.slice(0, 59) + '…';
  if (Number.isInteger(given)) return number(given, 0);
  const size = Math.abs(given);
  return number(given, size >= 10000 ? 0 : size >= 100 ? 1 : size >= 0.1 || size === 0 ? 2 : 4);
}

export const percent = (ratio) => (ratio === null || ratio === undefined ? '–' : `${Math.round(ratio * 100)}\u202f%`);

/** How far from the target: a number with its sign, and a word. */
export function delta(made, wanted) {
  const off = Math.round(made) - Math.round(wanted);
  if (off === 0) return ['on target', ''];
  return off > 0 ? [`+${number(off)}`, 'ahead'] : [number(off), 'behind'];
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return minutes < 10 ? `${minutes} min ${String(whole % 60).padStart(2, '0')} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const zones = new Map();

function parts(ms, zone) {
  let format = zones.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
    zones.set(zone, format);
  }
  return format.format(ms).split(' ');
}

/** 14:02:11 in the plant's zone; with the date when it is not today. */
export function when(ms, now, zone) {
  const [day, time] = parts(ms, zone);
  return day === parts(now, zone)[0] ? time : `${day} ${time}`;
}

/** ISO date of the running week's Monday in the plant's zone. */
export function monday(now, zone) {
  const day = new Date(`${parts(now, zone)[0]}T00:00:00Z`);
  day.setUTCDate(day.getUTCDate() - ((day.getUTCDay() + 6) % 7));
  return day.toISOString().slice(0, 10);
}

export const quality = (status) => ['Good', 'Uncertain', 'Bad', 'Bad'][status >>> 30];

/** The status in words; empty for Good. */
export function statusText(status, names) {
  if (status >>> 30 === 0) return '';
  const code = (status & 0xffff0000) >>> 0;
  return names[code] ?? `0x${(status >>> 0).toString(16).toUpperCase().padStart(8, '0')}`;
}
