// What may be said of a line or machine now. The same rules as marks.py: what is stale is never running.
import { TABLES } from '/display-tables.js';
import { alarms, cell, silence, freshness, heard, link, now } from '/static/js/store.js';
import { duration, when } from '/static/js/format.js';

const NONE = TABLES.looks.no_data;
export const look = (state) => TABLES.looks[state] ?? NONE;

export const isOld = (state) => state === 'stale' || state === 'offline';

/** Zone of the page's clock: the plant's. It changes when the first machine appears. */
const zone = () => document.querySelector('plant-clock').dataset.zone;

/** A line's state: `{look, word, text}`. */
export function lineMark(line) {
  if (isOld(freshness(line))) return noData(line);
  const state = cell(`state:${line}`).value;
  if (!state) return { look: NONE, word: NONE.word, text: 'waiting for the first state' };
  const shown = look(state.state);
  return { look: shown, word: shown.word, text: `for ${duration((now.value - state.since) / 1000)}` };
}

/** A machine's own state, from its state signal. */
export function unitMark(asset, signal) {
  if (isOld(freshness(asset))) return noData(asset);
  if (!signal) return { look: { shape: 'ring', tone: 'running' }, word: 'Reporting', text: '' };
  const found = cell(`value:${signal}`).value;
  const bad = !found || found.q >>> 30 === 2 || typeof found.v !== 'number';
  const [state, word] = (!bad && TABLES.packml[Math.trunc(found.v)]) || ['no_data', NONE.word];
  return { look: look(state), word, text: '' };
}

function noData(asset) {
  const at = heard(asset);
  const since = at ? `since ${when(at, now.value, zone())}` : 'never heard';
  return { look: NONE, word: NONE.word, text: since };
}

/** `live`, `12 s old`, `last 14:02:11`. */
export function ageText(asset, source) {
  const at = heard(asset, source);
  switch (freshness(asset, source)) {
    case 'live': return 'live';
    case 'late': return `${Math.floor((now.value - at) / 1000)} s old`;
    default: return at ? `last ${when(at, now.value, zone())}` : 'never heard';
  }
}

/** Why it is silent, where that was declared. */
export const silenceText = (asset, source) => (link.value.state === 'offline' ? '' : silence(asset, source) ?? '');

const RANK = { high: 0, medium: 1, low: 2 };

/** Active alarms of a line: high before low, then the newest first. */
export function alarmsOf(line) {
  return [...alarms.value.values()]
    .filter((alarm) => alarm.line_id === line)
    .sort((a, b) => (RANK[a.priority] ?? 3) - (RANK[b.priority] ?? 3) || b.raised_at - a.raised_at);
}

export const ALARM_LOOKS = {
  high: { shape: 'square', tone: 'down' },
  medium: { shape: 'triangle', tone: 'slow' },
  low: { shape: 'diamond', tone: 'planned' },
};
